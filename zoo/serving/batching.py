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

    @property
    def waiting(self):
        """Rows that wait."""
        return sum(task.rows for queue in self._queues.values() for task in queue)

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
        if rows > most:
            parts = [{name: array[i : i + most] for name, array in inputs.items()} for i in range(0, rows, most)]
            answers = await asyncio.gather(
                *(self._enter(key, run, part, min(most, rows - i * most)) for i, part in enumerate(parts))
            )
            return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
        return await self._enter(key, run, inputs, rows)

    async def alone(self, key, run, inputs):
        """An answer of one call that is not joined with any other, for functions without a free first dimension."""
        return await self._enter((*key, object()), run, inputs, 1)

    async def _enter(self, key, run, inputs, rows):
        # Of one function, whatever the shapes of its rows; who has given up waits no more.
        queues = [queue for other, queue in self._queues.items() if other[:2] == key[:2]]
        waiting = sum(task.rows for queue in queues for task in queue if not task.future.done())
        capacity = self.settings.max_enqueued_batches * self.settings.max_batch_size
        if waiting + rows > capacity:
            raise status.ServingError(
                "UNAVAILABLE",
                f"The batch scheduling queue to which this task was submitted is full; {capacity} rows wait already. "
                "Try again later.",
            )
        loop = asyncio.get_running_loop()
        task = _Task(inputs, rows, loop.create_future(), loop.time())
        self._queues.setdefault(key, collections.deque()).append(task)
        self._runs[key] = run
        self._dispatch()
        return await task.future

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
        for key in list(self._queues):
            queue = self._queues[key]
            while queue and queue[0].future.done():  # given up by who asked
                queue.popleft()
            if queue and sum(task.rows for task in queue) < self.settings.max_batch_size:
                due = queue[0].since + self.settings.batch_timeout_micros / 1e6
                if due > loop.time():
                    loop.call_at(due, self._dispatch)
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
        return None

    async def _call(self, key, run, batch):
        try:
            await self._answer(key, run, batch)
        finally:
            self._busy -= 1
            self._dispatch()

    async def _answer(self, key, run, batch):
        joined = batch[0].inputs
        if len(batch) > 1:
            joined = {name: np.concatenate([task.inputs[name] for task in batch]) for name in batch[0].inputs}
        rows = sum(task.rows for task in batch)
        started = time.perf_counter()
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._pool, run, joined)
            if len(batch) > 1 and any(len(array) != rows for array in answer.values()):
                raise ValueError("the answer does not have the rows of the request")
        except Exception as error:
            if len(batch) > 1:
                for task in batch:  # one of them is at fault; each is told of its own
                    await self._answer(key, run, [task])
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
