"""Dynamic batching: requests that wait for the same function are answered by one call of it.

As in TensorFlow Serving, each function has a bounded queue, and a request that finds it full is UNAVAILABLE. Unlike
there, a request that makes a call fail leaves the other requests of its batch unharmed.
"""

import asyncio
import collections
import concurrent.futures
import dataclasses
import time
from collections.abc import Callable

import numpy as np

from zoo import checks
from zoo.serving import status

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays], Arrays]
_AGING = 1 / 16  # turns a call, so that many small requests do not keep a large one waiting forever
_HEAVIEST = 4_000_000  # pixels of image files that are joined in a call


@dataclasses.dataclass(frozen=True)
class Batching:
    """Settings of a batcher, by the names of TensorFlow Serving's `BatchingParameters`.

    Args:
        max_batch_size: rows of a call; larger requests are cut.
        batch_timeout_micros: how long the first request of a partial batch waits for others. With 0, requests gather
            only while the model is busy, which serves CPUs best.
        max_enqueued_batches: full batches that may wait for each function.
        num_batch_threads: concurrent calls.
    """

    max_batch_size: int = 64
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 100
    num_batch_threads: int = 2

    def __post_init__(self) -> None:
        settings = dataclasses.asdict(self)
        checks.integers("Batching", 0, batch_timeout_micros=settings.pop("batch_timeout_micros"))
        checks.integers("Batching", **settings)


@dataclasses.dataclass
class _Task:
    inputs: Arrays
    rows: int
    weight: int
    turn: float  # parts of a request have one after the other, so that small requests pass between them
    is_part: bool
    future: asyncio.Future
    since: float


class Batcher:
    """Queues of requests and the threads that answer them; used from one event loop.

    Args:
        settings: sizes and times.
        pool: runs the calls.
        observe: called with (key, rows, seconds) after every call.
    """

    def __init__(
        self, settings: Batching, pool: concurrent.futures.Executor, observe: Callable = lambda key, rows, seconds: None
    ):
        self.settings, self._pool, self._observe = settings, pool, observe
        # Key -> function and its tasks; the first key is served first.
        self._queues: collections.OrderedDict[tuple, tuple[Run, collections.deque[_Task]]] = collections.OrderedDict()
        self._busy = self._large = 0  # calls that run, and those among them of parts of requests
        self._turn = 0.0  # of the last task that was called
        self._calls: set[asyncio.Task] = set()  # the loop holds tasks weakly
        self._timer: asyncio.TimerHandle | None = None  # looks again when the next batch is due

    @property
    def waiting(self) -> int:
        """Number of rows that wait."""
        return self._waiting(())

    def _waiting(self, prefix: tuple) -> int:
        queues = [tasks for key, (_, tasks) in self._queues.items() if key[: len(prefix)] == prefix]
        return sum(task.rows for tasks in queues for task in tasks if not task.future.done())

    async def submit(self, key: tuple, run: Run, inputs: Arrays, rows: int | None, weight: int = 0) -> Arrays:
        """Returns the answer to a request, when its turn comes; ServingError UNAVAILABLE where the queue is full.

        Args:
            key: the servable, the signature, and the shape of a row of each input; requests of equal keys are joined.
            run: arrays by name -> arrays by name, called in a thread; what it raises is raised here.
            inputs: arrays by name, `[rows, ...]`.
            rows: size of the first dimension; None where it is not free, and the request is not joined.
            weight: pixels of image files in the inputs, which bound how many requests are joined.
        """
        if rows is None:
            (answer,) = await self._enter((*key, object()), run, [(inputs, 1)], weight)
            return answer
        size = self.settings.max_batch_size
        starts = range(0, rows, size)
        parts = [({name: x[i : i + size] for name, x in inputs.items()}, min(size, rows - i)) for i in starts]
        answers = await self._enter(key, run, parts if len(parts) > 1 else [(inputs, rows)], weight)
        if len(answers) == 1:
            return answers[0]
        for (_, count), answer in zip(parts, answers, strict=True):
            check_rows(answer, count)
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    async def _enter(self, key: tuple, run: Run, parts: list[tuple[Arrays, int]], weight: int) -> list[Arrays]:
        """Returns the answers to the parts of a request, which enter the queue together or not at all."""
        waiting = self._waiting(key[:2])  # for this function, whatever the shapes of the rows
        capacity = self.settings.max_enqueued_batches * self.settings.max_batch_size
        rows = sum(count for _, count in parts)
        if rows > capacity:
            raise status.error("Batcher", f"a request of at most {capacity} rows", rows)
        if waiting + rows > capacity:
            received = f"{waiting} rows that wait, of {capacity} at most"
            raise status.error(
                "Batcher", f"room for {rows} rows in the queue", received, " Try again later.", "UNAVAILABLE"
            )
        loop = asyncio.get_running_loop()
        share, turn, now = weight // len(parts), self._turn, loop.time()
        is_part = len(parts) > 1
        tasks = [
            _Task(inputs, count, share, turn + index, is_part, loop.create_future(), now)
            for index, (inputs, count) in enumerate(parts)
        ]
        queue = self._queues.setdefault(key, (run, collections.deque()))[1]
        for task in tasks:
            place = len(queue)
            while place and queue[place - 1].turn > task.turn:
                place -= 1
            queue.insert(place, task)
        self._dispatch()
        try:
            return await asyncio.gather(*(task.future for task in tasks))
        finally:
            if any(task.future.cancelled() or not task.future.done() for task in tasks):
                self._forget(key, tasks)

    def _forget(self, key: tuple, tasks: list[_Task]) -> None:
        """Removes abandoned tasks from their queue, which would hold the memory of their inputs."""
        for task in tasks:
            task.future.cancel()
        if key in self._queues:
            run, queue = self._queues[key]
            self._queues[key] = run, collections.deque(task for task in queue if not task.future.done())
            if not self._queues[key][1]:
                del self._queues[key]

    def _dispatch(self) -> None:
        """Starts calls while threads are free and batches are due."""
        loop = asyncio.get_running_loop()
        while self._busy < self.settings.num_batch_threads and (found := self._next(loop)):
            self._busy += 1
            self._large += any(task.is_part for task in found[2])
            call = loop.create_task(self._call(*found))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    def _next(self, loop: asyncio.AbstractEventLoop) -> tuple[tuple, Run, list[_Task]] | None:
        """Returns the next batch that is due, as its key, function and tasks."""
        later = []
        for key, (run, queue) in list(self._queues.items()):
            while queue and queue[0].future.done():  # abandoned a moment ago
                queue.popleft()
            if queue and sum(task.rows for task in queue) < self.settings.max_batch_size:
                due = queue[0].since + self.settings.batch_timeout_micros / 1e6
                if due > loop.time():
                    later.append(due)
                    continue
            batch = self._taken(queue)
            self._queues.move_to_end(key)  # the other functions come first next time
            if not queue:
                del self._queues[key]
            if batch:
                self._turn += _AGING
                return key, run, batch
        if self._timer:
            self._timer.cancel()
        self._timer = loop.call_at(min(later), self._dispatch) if later else None
        return None

    def _taken(self, queue: collections.deque[_Task]) -> list[_Task]:
        """Removes the tasks of the next call from a queue, and returns them."""
        batch: list[_Task] = []
        passed: list[_Task] = []
        rows = weight = 0
        # Large requests leave a thread to the small ones.
        is_full = self._large >= max(1, self.settings.num_batch_threads - 1)
        while queue and rows + queue[0].rows <= self.settings.max_batch_size:
            if batch and weight + queue[0].weight > _HEAVIEST:
                break
            task = queue.popleft()
            if is_full and task.is_part:
                passed.append(task)
            elif not task.future.done():
                batch.append(task)
                rows, weight = rows + task.rows, weight + task.weight
                self._turn = max(self._turn, task.turn)
        queue.extendleft(reversed(passed))
        return batch

    async def _call(self, key: tuple, run: Run, batch: list[_Task]) -> None:
        try:
            await self._answer(key, run, batch)
        finally:
            self._busy -= 1
            self._large -= any(task.is_part for task in batch)
            self._dispatch()

    async def _answer(self, key: tuple, run: Run, batch: list[_Task]) -> None:
        batch = [task for task in batch if not task.future.done()]
        if not batch:
            return
        joined, rows, started = batch[0].inputs, sum(task.rows for task in batch), time.perf_counter()
        try:
            if len(batch) > 1:
                joined = {name: np.concatenate([task.inputs[name] for task in batch]) for name in joined}
            answer = await asyncio.get_running_loop().run_in_executor(self._pool, run, joined)
            if len(batch) > 1:
                check_rows(answer, rows)
        except Exception as error:
            if len(batch) > 1:
                # Halves find the request at fault in few calls; the others are answered.
                half = len(batch) // 2
                await self._answer(key, run, batch[:half])
                await self._answer(key, run, batch[half:])
            elif not batch[0].future.done():
                batch[0].future.set_exception(error)
            return
        self._observe(key, rows, time.perf_counter() - started)
        start = 0
        for task in batch:
            part = slice(start, start := start + task.rows)
            if not task.future.done():
                own = {name: array[part] for name, array in answer.items()} if len(batch) > 1 else answer
                task.future.set_result(own)


def check_rows(answer: Arrays, rows: int) -> None:
    """Refuses an answer of a model that does not have a row for each row of its inputs."""
    if any(len(array) != rows for array in answer.values()):
        shapes = {name: array.shape for name, array in answer.items()}
        raise status.error("Model", f"outputs of {rows} rows", f"shapes={shapes}", code="INTERNAL")
