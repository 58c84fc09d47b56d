"""The part that REST and gRPC share: from names and arrays to features, within the limits, counted and logged."""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from zoo.serving import batching, limits, metrics, repository, servable, status

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

    async def predict(
        self,
        found: servable.Servable,
        signature: servable.Signature,
        inputs: dict[str, np.ndarray],
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature by name, those in `output_filter` if it is not empty.

        ServingError names what is wrong with the request, or says that there is no time or room for it.
        """
        if len(set(output_filter)) < len(output_filter) or not set(output_filter) <= set(signature.outputs):
            expected = f"different outputs among {', '.join(sorted(signature.outputs))}"
            raise status.error(f"Signature {signature.name}", expected, f"output_filter={list(output_filter)}")
        servable.check_names(signature, inputs)
        counts = {array.shape[0] for array in inputs.values()} if signature.batched else set()
        rows = counts.pop() if len(counts) == 1 else 0
        key = (found, signature.name, *((name, inputs[name].shape[1:]) for name in sorted(inputs) if rows))
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                if servable.IMAGE_FILES in inputs and inputs[servable.IMAGE_FILES].dtype == object:
                    files = await asyncio.to_thread(servable.checked_files, inputs[servable.IMAGE_FILES], self.limits)
                    inputs = {**inputs, servable.IMAGE_FILES: files}
                run = functools.partial(found.run, signature)
                outputs = await self.batcher.submit(key, run, inputs, rows or None)
        except TimeoutError:
            expected = f"an answer within {self.limits.answer_seconds:g} seconds"
            raise status.error("Server", expected, "none", code="DEADLINE_EXCEEDED") from None
        return {name: outputs[name] for name in output_filter or signature.outputs}

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
