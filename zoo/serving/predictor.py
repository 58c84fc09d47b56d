"""The part that REST and gRPC share: from names and arrays to features, within the limits, counted and logged."""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from zoo.serving import batching, image_requests, limits, metrics, repository, servable, status, turns

T = TypeVar("T")
_LARGE = 64 << 10  # bytes of a body that others do not wait for
LOG = logging.getLogger("zoo.serving")


class Predictor:
    """Answers requests of both APIs.

    Args:
        models: the served models.
        batcher: joins requests.
        bounds: of requests.
        counts: the metrics.
    """

    def __init__(
        self, models: repository.Repository, batcher: batching.Batcher, bounds: limits.Limits, counts: metrics.Metrics
    ):
        self.repository, self.batcher, self.limits, self.metrics = models, batcher, bounds, counts
        self.room = limits.Room(bounds.in_flight_bytes)
        self.pixels = limits.Room(bounds.in_flight_pixels, "pixels of image files")
        self._heavy, self._large = turns.Turns("images"), turns.Turns("bodies")

    def close(self) -> None:
        """Drops the work that waits."""
        self._heavy.close()
        self._large.close()

    async def read(self, steps: turns.Steps[T], size: int) -> T:
        """Returns what steps return that read so many bytes; those of large bodies take turns in a thread."""
        return turns.at_once(steps) if size < _LARGE else await self._large.run(steps)

    @contextlib.asynccontextmanager
    async def deadline(self) -> AsyncIterator[None]:
        """Ends the `with` block after the time to answer, with the ServingError that says so."""
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                yield
        except TimeoutError:
            expected = f"an answer within {self.limits.answer_seconds:g} seconds"
            raise status.error("Server", expected, "none", code="DEADLINE_EXCEEDED") from None

    async def predict(
        self,
        found: servable.Servable,
        signature: servable.Signature,
        inputs: dict[str, np.ndarray],
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature by name, those in `output_filter` if it is not empty.

        ServingError names what is wrong with the request, or says that there is no room for it.
        """
        if len(set(output_filter)) < len(output_filter) or not set(output_filter) <= set(signature.outputs):
            expected = f"different outputs among {', '.join(sorted(signature.outputs))}"
            raise status.error(f"Signature {signature.name}", expected, f"output_filter={list(output_filter)}")
        servable.check_names(signature, inputs)
        counts = {array.shape[0] for array in inputs.values()} if signature.batched else set()
        rows = counts.pop() if len(counts) == 1 else 0
        key = (found, signature.name, *((name, inputs[name].shape[1:]) for name in sorted(inputs) if rows))
        run = functools.partial(found.run, signature)
        if servable.IMAGE_FILES in inputs and inputs[servable.IMAGE_FILES].dtype == object:
            outputs = await self._of_files(key, run, inputs, rows)
        else:
            outputs = await self.batcher.submit(key, run, inputs, rows or None)
        return {name: outputs[name] for name in output_filter or signature.outputs}

    async def _of_files(self, key: tuple, run: batching.Run, inputs: batching.Arrays, rows: int) -> batching.Arrays:
        """Returns the outputs of image files: in a batch with others, or in calls of their own, by their pixels."""
        name, bounds = servable.IMAGE_FILES, self.limits
        # A header takes as long as some kilobytes of a body.
        size = sum(len(data) + 4096 for data in inputs[name].ravel())
        counts, is_plain = await self.read(image_requests.examined(inputs[name], bounds), size)
        if sum(counts) > image_requests.LIGHT:
            most = self.batcher.settings.max_batch_size if rows else 0
            observe = functools.partial(self.metrics.call, key[0].name)
            steps = image_requests.steps(run, inputs, name, counts, is_plain, most, bounds, observe)
            # Small requests need no such room, lest large ones leave them none.
            with self.pixels.hold(sum(counts)):
                return await self._heavy.run(steps)
        try:
            if not all(is_plain):
                plain = await self._large.run(image_requests.plain(inputs[name], is_plain, bounds))
                inputs = {**inputs, name: plain}
            return await self.batcher.submit(key, run, inputs, rows or None, sum(counts))
        except status.ServingError as error:
            if error.code == "INVALID_ARGUMENT":
                await self._large.run(image_requests.blame(inputs[name], bounds))
            raise

    @contextlib.contextmanager
    def watch(self, api: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """Counts, times and logs the prediction in the `with` block; every error leaves it as ServingError.

        Yields:
            The fields of the log line, to add to: `model`, `version`, `signature`, `rows`.
        """
        started, code, http = time.perf_counter(), "OK", 200
        try:
            yield fields
        except status.ServingError as error:
            code, http = error.code, error.http
            raise
        except asyncio.CancelledError:
            code, http = "CANCELLED", status.HTTP["CANCELLED"]
            raise
        except Exception as error:
            code, http = "INTERNAL", status.HTTP["INTERNAL"]
            LOG.exception("failed", extra={"fields": {"api": api, **fields}})
            raise status.ServingError(code, f"{type(error).__name__}: {error}") from error
        finally:
            seconds, model = time.perf_counter() - started, fields.get("model", "")
            # Names that strangers make up must not fill the memory.
            self.metrics.request(model if model in self.repository.models else "unknown", api, code, seconds)
            shown = {"api": api, "status": http if api == "REST" else code, **fields, "ms": round(seconds * 1e3, 2)}
            LOG.info("request", extra={"fields": shown})


def rows(inputs: dict[str, np.ndarray]) -> int:
    """Returns the number of rows of a request, for the log."""
    return max((len(array) for array in inputs.values() if array.ndim), default=1)
