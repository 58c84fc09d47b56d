"""What REST and gRPC have in common: from names and arrays to features, within the limits, counted."""

import asyncio
import time

from zoo.serving import limits as bounding
from zoo.serving import metrics as metering
from zoo.serving import servable, status


class Predictor:
    """Answers requests, whatever way they came.

    Args:
        repository: `repository.Repository`.
        batcher: `batching.Batcher`.
        limits: `limits.Limits`.
        metrics: `metrics.Metrics`.
    """

    def __init__(self, repository, batcher, limits, metrics=None):
        self.repository, self.batcher, self.limits = repository, batcher, limits
        self.metrics = metrics or metering.Metrics()
        self.room = bounding.Room(limits.in_flight_bytes)

    async def predict(self, found, signature, inputs, output_filter=()):
        """Features of arrays.

        Args:
            found: `servable.Servable`.
            signature: `servable.Signature` of it.
            inputs: arrays by name, of the kinds that `servable.check_kind` lets pass.
            output_filter: names of the outputs that are wanted; all if empty.

        Returns:
            arrays by name.

        Raises:
            ServingError: names what is wrong with the request, or that there is no time or room for it.
        """
        _check_filter(signature, output_filter)
        servable.check_names(signature, inputs)
        run = lambda arrays: found.run(signature, arrays)  # noqa: E731
        counts = {array.shape[0] for array in inputs.values()} if signature.batched else {None}
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                if servable.IMAGE_FILES in inputs:
                    await asyncio.to_thread(servable.check_values, inputs, self.limits)
                if len(counts) == 1 and counts not in ({None}, {0}):
                    shapes = tuple((name, inputs[name].shape[1:]) for name in sorted(inputs))
                    key = (found, signature.name, shapes)
                    outputs = await self.batcher.submit(key, run, inputs, counts.pop())
                else:
                    outputs = await self.batcher.alone((found, signature.name), run, inputs)
        except TimeoutError:
            raise status.ServingError(
                "DEADLINE_EXCEEDED", f"No answer within {self.limits.answer_seconds:g} seconds; the server is busy."
            ) from None
        wanted = output_filter or signature.outputs
        return {name: outputs[name] for name in wanted}


def rows(inputs):
    """How many rows a request has, for the log."""
    return max((len(array) for array in inputs.values() if array.ndim), default=1)


def _check_filter(signature, names):
    for index, name in enumerate(names):
        if name not in signature.outputs:
            raise status.ServingError(
                "INVALID_ARGUMENT",
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{{{','.join(sorted(signature.outputs))}}}.",
            )
        if name in names[:index]:
            raise status.ServingError("INVALID_ARGUMENT", f"duplicate output tensor alias: {name}")


class Watch:
    """Times a request and tells the metrics of it.

    Args:
        predictor: `Predictor`.
        entrypoint: `"REST"` or `"GRPC"`.
    """

    def __init__(self, predictor, entrypoint):
        self._predictor, self._entrypoint = predictor, entrypoint
        self._started = time.perf_counter()

    def done(self, model, code):
        """Counts a prediction that ended; returns how many milliseconds it took, for people."""
        seconds = time.perf_counter() - self._started
        # Names that strangers make up must not fill the memory.
        known = model if model in self._predictor.repository.models else "unknown"
        self._predictor.metrics.request(known, self._entrypoint, code, seconds)
        return round(seconds * 1e3, 2)
