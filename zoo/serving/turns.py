"""Long work in short steps that take turns, so that no request waits for the whole work of another."""

import asyncio
import concurrent.futures
from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]


class Turns:
    """A thread that does a step of each request in turn. A request that is given up takes no further step.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str):
        self._pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, steps: Steps[T]) -> T:
        """Returns what a generator returns; between two of its steps others have theirs."""
        loop = asyncio.get_running_loop()
        while True:
            # The thread takes what was submitted first: a request goes behind all others after every step.
            ended, value = await loop.run_in_executor(self._pool, _step, steps)
            if ended:
                return value

    def close(self) -> None:
        """Drops the steps that wait."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def at_once(steps: Steps[T]) -> T:
    """Returns what a generator returns, in the thread of the caller."""
    while True:
        ended, value = _step(steps)
        if ended:
            return value


def _step(steps: Steps[T]) -> tuple[bool, Any]:
    try:
        next(steps)
    except StopIteration as end:
        return True, end.value
    return False, None
