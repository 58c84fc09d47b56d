"""Dynamic batching: requests that wait for the same function are answered by one call of it.

As TensorFlow Serving's: a bounded queue for each function, `max_batch_size` rows a call at most, and a full queue is
the status UNAVAILABLE. Unlike there, a request that makes a call fail does not take the others of its batch with it.
"""

import asyncio
import collections
import dataclasses
import time

import numpy as np

from zoo.serving import status

_ROWS = "The model's answer does not have the rows of the request."


@dataclasses.dataclass(frozen=True)
class Batching:
    """Settings of the batcher, by the names of TensorFlow Serving's `BatchingParameters`.

    Args:
        max_batch_size: rows of one call; larger requests are cut.
        batch_timeout_micros: how long the first request of a batch that is not full waits for others. With 0, requests
            gather only while the model is busy, which serves CPUs best.
        max_enqueued_batches: full batches that may wait for each function.
        num_batch_threads: calls at one time.
    """

    max_batch_size: int = 64
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 100
    num_batch_threads: int = 2

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "batch_timeout_micros" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"Batching: expected `{field.name}` >= {least}. Received: {field.name}={value!r}.")


@dataclasses.dataclass
class _Task:
    inputs: dict
    rows: int
    future: asyncio.Future
    since: float


class Batcher:
    """Queues of requests and the threads that answer them; used from one event loop.

    Args:
        settings: `Batching`.
        pool: `concurrent.futures.Executor` for the calls.
        observe: called with (key, rows, seconds) after every call.
    """

    def __init__(self, settings, pool, observe=lambda key, rows, seconds: None):
        self.settings, self._pool, self._observe = settings, pool, observe
        self._queues = collections.OrderedDict()  # key -> deque of tasks; the first key is served first
        self._runs = {}
        self._busy = 0
        self._calls = set()  # the loop itself holds tasks weakly
        self._timer = None  # looks again when the next batch is due

    @property
    def waiting(self):
        """Rows that wait."""
        return sum(task.rows for queue in self._queues.values() for task in queue if not task.future.done())

    async def submit(self, key, run, inputs, rows):
        """An answer, when its turn comes; requests of equal keys are joined.

        Args:
            key: tuple: the servable, the signature, and the shape of a row of each input.
            run: arrays by name `[rows, ...]` -> arrays by name `[rows, ...]`, called in a thread.
            inputs: arrays by name, all of `rows` rows.
            rows: how many.

        Raises:
            ServingError: UNAVAILABLE where the queue is full, or what `run` raised for these inputs.
        """
        most = self.settings.max_batch_size
        starts = range(0, rows, most)
        parts = [({name: array[i : i + most] for name, array in inputs.items()}, min(most, rows - i)) for i in starts]
        answers = await self._enter(key, run, parts if len(parts) > 1 else [(inputs, rows)])
        if len(answers) == 1:
            return answers[0]
        for (_, count), answer in zip(parts, answers, strict=True):
            if any(len(array) != count for array in answer.values()):
                raise status.ServingError("INTERNAL", _ROWS)
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    async def alone(self, key, run, inputs):
        """An answer of one call that is not joined with any other, for functions without a free first dimension."""
        (answer,) = await self._enter((*key, object()), run, [(inputs, 1)])
        return answer

    async def _enter(self, key, run, parts):
        """The answers of a request's parts, `(inputs, rows)` each; they are let in together or not at all."""
        # Of one function, whatever the shapes of its rows.
        queues = [queue for other, queue in self._queues.items() if other[:2] == key[:2]]
        waiting = sum(task.rows for queue in queues for task in queue if not task.future.done())
        capacity = self.settings.max_enqueued_batches * self.settings.max_batch_size
        rows = sum(count for _, count in parts)
        if rows > capacity:
            raise status.ServingError(
                "INVALID_ARGUMENT", f"Expected a request of at most {capacity} rows. Received: {rows}."
            )
        if waiting + rows > capacity:
            raise status.ServingError(
                "UNAVAILABLE",
                f"The batch scheduling queue to which this task was submitted is full; {waiting} rows wait already, of "
                f"{capacity} at most. Try again later.",
            )
        loop = asyncio.get_running_loop()
        tasks = [_Task(inputs, count, loop.create_future(), loop.time()) for inputs, count in parts]
        self._queues.setdefault(key, collections.deque()).extend(tasks)
        self._runs[key] = run
        self._dispatch()
        try:
            return await asyncio.gather(*(task.future for task in tasks))
        finally:
            if not all(task.future.done() and not task.future.cancelled() for task in tasks):
                self._forget(key, tasks)

    def _forget(self, key, tasks):
        """Takes what nobody waits for out of its queue: it would hold the memory of its inputs."""
        for task in tasks:
            task.future.cancel()
        left = collections.deque(task for task in self._queues.get(key, ()) if not task.future.done())
        if left:
            self._queues[key] = left
        else:
            self._queues.pop(key, None)
            self._runs.pop(key, None)

    def _dispatch(self):
        """Starts calls as long as threads are free and batches are due."""
        loop = asyncio.get_running_loop()
        while self._busy < self.settings.num_batch_threads:
            found = self._next(loop)
            if found is None:
                return
            self._busy += 1
            call = loop.create_task(self._call(*found))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    def _next(self, loop):
        """The next batch that is due: its key, function and tasks; or None."""
        later = []
        for key in list(self._queues):
            queue = self._queues[key]
            while queue and queue[0].future.done():  # given up a moment ago
                queue.popleft()
            if queue and sum(task.rows for task in queue) < self.settings.max_batch_size:
                due = queue[0].since + self.settings.batch_timeout_micros / 1e6
                if due > loop.time():
                    later.append(due)
                    continue
            batch, rows = [], 0
            while queue and rows + queue[0].rows <= self.settings.max_batch_size:
                task = queue.popleft()
                if not task.future.done():
                    batch.append(task)
                    rows += task.rows
            run = self._runs[key]
            self._queues.move_to_end(key)  # the others come first next time
            if not queue:
                del self._queues[key], self._runs[key]
            if batch:
                return key, run, batch
        if self._timer:
            self._timer.cancel()
        self._timer = loop.call_at(min(later), self._dispatch) if later else None
        return None

    async def _call(self, key, run, batch):
        try:
            await self._answer(key, run, batch)
        finally:
            self._busy -= 1
            self._dispatch()

    async def _answer(self, key, run, batch):
        batch = [task for task in batch if not task.future.done()]
        if not batch:
            return
        joined = batch[0].inputs
        if len(batch) > 1:
            joined = {name: np.concatenate([task.inputs[name] for task in batch]) for name in batch[0].inputs}
        rows = sum(task.rows for task in batch)
        started = time.perf_counter()
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._pool, run, joined)
            if len(batch) > 1 and any(len(array) != rows for array in answer.values()):
                raise status.ServingError("INTERNAL", _ROWS)
        except Exception as error:
            if len(batch) > 1:
                # One of them is at fault, and is told; the others are answered. Halves find it in few calls.
                half = len(batch) // 2
                await self._answer(key, run, batch[:half])
                await self._answer(key, run, batch[half:])
            elif not batch[0].future.done():
                batch[0].future.set_exception(error)
            return
        self._observe(key, rows, time.perf_counter() - started)
        start = 0
        for task in batch:
            if not task.future.done():
                mine = slice(start, start + task.rows)
                task.future.set_result(
                    answer if len(batch) == 1 else {name: array[mine] for name, array in answer.items()}
                )
            start += task.rows
