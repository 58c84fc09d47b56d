"""Training on TensorFlow, under any `tf.distribute` strategy."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo import checks, context, engine
from zoo.methods import method as methods
from zoo.train import step, strategies

# Minimum number of pixels in a run for XLA to compile the views: twice the measured break-even point.
_WORTH_COMPILING = 2 * 10**7


class Engine:
    """See `zoo.train.engines`.

    Args:
        strategy: a `tf.distribute.Strategy`; the current one by default.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None):
        self._strategy = strategy or tf.distribute.get_strategy()
        self.scope = self._strategy.scope
        self.set_seed = keras.utils.set_random_seed
        self.count = self._strategy.num_replicas_in_sync
        self.chief = strategies.is_chief(self._strategy)
        self.workers, self.worker = strategies.workers(self._strategy)

    def task(
        self, method: methods.Method, views: Any, optimizer: Any, seed: int, steps: int, steps_per_epoch: int
    ) -> step.Step:
        """Returns the step of this engine."""
        return step.Step(method, views, step.without_reduction(optimizer), seed, steps, steps_per_epoch)

    def check(self, jit_compile: bool) -> None:
        """Raises ValueError for XLA with several replicas on a CPU, where it has no collectives."""
        possible = not jit_compile or self.count == 1 or not engine.current().on_cpu()
        expected = "`jit_compile` to be False with several replicas on a CPU, where XLA has no collectives"
        checks.require(possible, "run", expected, jit_compile=jit_compile, replicas=self.count)

    def record(self) -> dict[str, Any]:
        """Returns versions, hardware, strategy and number of replicas."""
        devices = [device.device_type for device in tf.config.list_logical_devices()]
        accelerators = [device for device in devices if device != "CPU"]
        return {
            "strategy": type(self._strategy).__name__,
            "replicas": self.count,
            "versions": {"tensorflow": tf.__version__},
            "hardware": f"{len(accelerators)} x {accelerators[0]}" if accelerators else f"{os.cpu_count()} CPU cores",
        }

    def check_agreement(self, start: int, variables: Sequence) -> None:
        """Raises ValueError if workers start from different steps or weights."""
        strategy = self._strategy
        if self.count == 1:
            return
        weights = sum(float(np.abs(np.asarray(keras.ops.convert_to_numpy(v), np.float64)).sum()) for v in variables)
        here = np.array([start, weights])

        @tf.function(autograph=False)
        def total():
            return strategy.reduce("SUM", strategy.run(lambda: tf.identity(tf.constant(here))), axis=None)

        mean = total().numpy() / self.count
        agree = np.allclose(mean, here, rtol=1e-12, atol=0)
        expected = "every worker to continue from one checkpoint, in one folder that all of them share as `workdir`"
        checks.require(agree, "run", expected, step_here=start, mean_step=float(mean[0]))

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Returns the rows of all workers in their order, on the host, `[n, D] -> [workers * n, D]`."""
        if self.workers == 1:
            return rows
        strategy, here = self._strategy, tf.constant(rows)

        def on_replica():  # every replica of a worker sends the same rows
            return tf.distribute.get_replica_context().all_gather(tf.identity(here), axis=0)

        @tf.function(autograph=False)
        def gathered():
            return strategy.experimental_local_results(strategy.run(on_replica))[0]

        copies = gathered().numpy().reshape(self.workers, self.count // self.workers, *rows.shape)
        return copies[:, 0].reshape(-1, *rows.shape[1:])

    def trainer(
        self, task: Any, data: Any, batch_size: int, seed: int, start: int, steps: int, jit_compile: bool
    ) -> Callable[[int, int], Mapping[str, float]]:
        """Returns a function that trains a number of steps, see `engines.Engine`."""
        # TensorFlow 2.21's dependency optimizer can lose the order between a variable's read and its update, as seen in
        # Keras' own train step with a batch norm of plain operations. The step is not slower without it (measured).
        # Set before a thread traces the views.
        tf.config.optimizer.set_experimental_options({"dependency_optimization": False})
        # XLA makes views many times faster but, on a CPU, convolutions slower; so by default it compiles views alone.
        # This takes seconds. It is unnecessary if XLA compiles the whole step, unavailable with several replicas.
        sizes = [shape[0] * shape[1] for shape, _ in data.spec.values() if len(shape) == 3]
        pixels = steps * batch_size * max(sizes, default=0)
        if self.count == 1 and not jit_compile and pixels > _WORTH_COMPILING:
            task.compile_views(data.spec, batch_size)
        advance = self._advance(task, batch_size // self.count, data.spec, jit_compile)
        batches = iter(self._batches(data, batch_size, seed, start))

        def train(first, count):
            sums = advance(batches, tf.constant(first, tf.int64), tf.constant(count, tf.int64))
            return {name: float(value) for name, value in sums.items()}

        return train

    def _batches(self, data, batch_size, seed, start):
        """Returns the stream of per-replica batches, beginning at step `start`."""

        def on_worker(worker):
            workers, local = worker.num_input_pipelines, worker.num_replicas_in_sync // worker.num_input_pipelines
            stream = data.batches(batch_size, seed, start=start, shard=(worker.input_pipeline_id, workers))
            if local > 1:
                # Consecutive elements go to consecutive replicas.
                size = batch_size // worker.num_replicas_in_sync
                stream = stream.flat_map(lambda batch: tf.data.Dataset.from_tensor_slices(batch).batch(size))
            return stream

        return self._strategy.distribute_datasets_from_function(on_worker)

    def _advance(self, task, batch, spec, jit_compile):
        """Returns a compiled function `(batches, first step, count) -> sums of the logs` over `count` steps."""
        strategy = self._strategy

        def on_replica(inputs, now):
            inputs = {name: tf.ensure_shape(inputs[name], (batch, *shape)) for name, (shape, _) in spec.items()}
            with context.using(xla=jit_compile, image_by_image=jit_compile and engine.current().on_cpu()):
                return task(inputs, now)

        # The step has no Python control flow over tensors, so AutoGraph would only slow down tracing.
        on_replica = tf.autograph.experimental.do_not_convert(on_replica)
        if jit_compile:
            on_replica = tf.function(on_replica, jit_compile=True, autograph=False)

        # A separate function is traced only once, though `advance` calls it in two places.
        @tf.function(autograph=False)
        def global_step(inputs, now):
            logs = strategy.run(on_replica, (inputs, now))
            return {name: strategy.reduce("MEAN", value, axis=None) for name, value in logs.items()}

        @tf.function
        def advance(batches, first, count):
            sums = global_step(next(batches), first)
            for offset in tf.range(1, count):
                logs = global_step(next(batches), first + offset)
                sums = {name: sums[name] + logs[name] for name in sums}
            return sums

        return advance
