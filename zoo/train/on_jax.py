"""Training on JAX: a compiled step that takes the whole state and returns the updated one.

The state consists of the values of all variables: weights, statistics, queues, banks, averages, the optimizer's slots
and step counter. Its buffers are donated, so that memory is updated in place. Several devices share the batch; every
device holds a copy of the state, and sums over the devices keep the copies equal.
"""

import concurrent.futures
import contextlib
import os
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zoo import context, engine
from zoo.methods import method as methods
from zoo.train import optimizers
from zoo.train import task as tasks

_AXIS = "replica"
_AHEAD = 2  # number of batches that are prepared while the devices are busy


class JAXReplicas:
    """The devices that share a step, see `zoo.replicas`.

    Args:
        count: number of devices.
    """

    def __init__(self, count: int):
        self.count = count
        self.index = jax.lax.axis_index(_AXIS) if count > 1 else 0

    def gather(self, rows: Any) -> Any:
        """Returns the rows of all replicas, in their order, `[B, ...] -> [R * B, ...]`; gradients flow through."""
        return jax.lax.all_gather(rows, _AXIS, tiled=True) if self.count > 1 else rows

    def sum(self, value: Any) -> Any:
        """Returns the sum over the replicas; gradients flow through."""
        return jax.lax.psum(value, _AXIS) if self.count > 1 else value


class Step(tasks.Task):
    """A training step as a pure function of the state; arguments are those of `task.Task`.

    Attributes:
        variables: the variables of the state, in order.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.variables = [*self.method.variables, *self.optimizer.variables]
        where = {id(variable): number for number, variable in enumerate(self.variables)}
        self._trained = [where[id(variable)] for variable in self.method.trainable_variables]
        self._slots = [where[id(variable)] for variable in self.optimizer.variables]
        self._clocks = [where[id(variable)] for variable in optimizers.clocks(self.optimizer)]

    def _within(self, state):
        return keras.StatelessScope(state_mapping=list(zip(self.variables, state, strict=True)))

    def _after(self, scope):
        return [scope.get_current_value(variable) for variable in self.variables]

    def update(self, state: list, examples: Mapping[str, Any], number: Any, count: int) -> tuple[list, dict[str, Any]]:
        """Returns the state after the step, and the scalars to log.

        Args:
            state: values of `variables`, in order.
            examples: this replica's part of the global batch, by name.
            number: number of the step, int32 `[]`.
            count: number of replicas.
        """
        with context.using(replicas=JAXReplicas(count), image_by_image=engine.current().on_cpu()) as here:
            step = self.step(number, here.replicas)
            batch = self.batch(examples, self.views_of(examples, number))

            def objective(trained):
                with self._within(_put(state, self._trained, trained)) as scope:
                    share, logs, seen = self.objective(batch, step)
                    return share, (logs, seen, self._after(scope))

            trained = [state[number] for number in self._trained]
            gradients, (logs, seen, state) = jax.grad(objective, has_aux=True)(trained)
            # Sum before the optimizer clips gradients or checks that they are finite.
            gradients = step.replicas.sum(gradients)
            slots = [state[number] for number in self._slots]
            before = trained
            trained, slots = self.optimizer.stateless_apply(slots, gradients, before)
            changes = [tasks.kernels(values) for values in (before, trained)]
            logs = {**logs, "relative_update": tasks.relative_update(*changes)}
            state = _put(_put(state, self._trained, trained), self._slots, slots)
            state = _put(state, self._clocks, [jax.numpy.astype(number + 1, state[i].dtype) for i in self._clocks])
            with self._within(state) as scope:
                self.method.remember(seen, step)
                state = self._after(scope)
            return state, {name: step.replicas.sum(value) / count for name, value in logs.items()}


def _put(state, numbers, values):
    """Returns a copy of the state with new values at the given positions."""
    state = list(state)
    for number, value in zip(numbers, values, strict=True):
        state[number] = value
    return state


class Engine:
    """See `zoo.train.engines`.

    Args:
        devices: devices that share the batch; by default the first device alone.
    """

    chief = True
    workers, worker = 1, 0
    scope = contextlib.nullcontext

    def __init__(self, devices: Sequence | None = None):
        self._devices = list(devices or jax.devices()[:1])
        self.count = len(self._devices)
        mesh = Mesh(np.array(self._devices), (_AXIS,))
        self._whole = NamedSharding(mesh, PartitionSpec())
        self._divided = NamedSharding(mesh, PartitionSpec(_AXIS))

    def set_seed(self, seed: int) -> None:
        """Sets the seed of the initial weights. Keras' own function would import TensorFlow if it is installed."""
        random.seed(seed)
        np.random.seed(seed)

    def task(
        self, method: methods.Method, views: Any, optimizer: Any, seed: int, steps: int, steps_per_epoch: int
    ) -> Step:
        """Returns the step of this engine."""
        return Step(method, views, optimizer, seed, steps, steps_per_epoch)

    def check(self, jit_compile: bool) -> None:
        """Accepts any value: JAX compiles every step."""

    def check_agreement(self, start: int, variables: Sequence) -> None:
        """Does nothing: there is only one process."""

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Returns the rows: there is only one process."""
        return rows

    def record(self) -> dict[str, Any]:
        """Returns versions, hardware and number of devices."""
        first = self._devices[0]
        cores = f"{os.cpu_count()} CPU cores"
        return {
            "strategy": "JAX",
            "replicas": self.count,
            "versions": {"jax": jax.__version__},
            "hardware": cores if first.platform == "cpu" else f"{self.count} x {first.device_kind}",
        }

    def trainer(
        self, task: Any, data: Any, batch_size: int, seed: int, start: int, steps: int, jit_compile: bool
    ) -> Callable[[int, int], Mapping[str, float]]:
        """Returns a function that trains a number of steps, see `engines.Engine`."""
        del steps, jit_compile
        update = self._compiled(task)
        # Variables may share a buffer, as an average and its source do at first, but a buffer can be donated only once.
        for variable in task.variables:
            variable.assign(jax.device_put(jax.numpy.array(variable.value, copy=True), self._whole))
        batches = self._batches(data.batches(batch_size, seed, start=start))

        def train(first, count):
            state = [variable.value for variable in task.variables]
            total = None
            try:
                for now in range(first, first + count):
                    state, logs = update(state, next(batches), np.int32(now))
                    total = logs if total is None else jax.tree.map(jax.numpy.add, total, logs)
            finally:
                # The variables' previous buffers were donated.
                for variable, value in zip(task.variables, state, strict=True):
                    variable.assign(value)
            return {name: float(value) for name, value in total.items()}

        return train

    def _compiled(self, task):
        """Returns the step on all devices, `(state, global batch, step number) -> state, logs`."""

        def on_replica(state, examples, number):
            return task.update(state, examples, number, self.count)

        if self.count > 1:
            same, part = PartitionSpec(), PartitionSpec(_AXIS)
            on_replica = jax.shard_map(
                on_replica,
                mesh=self._whole.mesh,
                in_specs=(same, part, same),
                out_specs=(same, same),
                check_vma=False,  # sums over the devices keep the copies equal, see above
            )
        return jax.jit(on_replica, donate_argnums=0)

    def _batches(self, batches):
        """Yields batches placed on the devices; a thread prepares the next ones."""

        def placed():
            return jax.device_put(next(batches), self._divided)

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = [pool.submit(placed) for _ in range(_AHEAD)]
            while True:
                waiting.append(pool.submit(placed))
                yield waiting.pop(0).result()
