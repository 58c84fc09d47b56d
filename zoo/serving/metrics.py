"""Metrics for Prometheus, by the names of TensorFlow Serving, so that dashboards for it show them."""

from collections.abc import Callable
from typing import Any

import prometheus_client

PATH = "/monitoring/prometheus/metrics"
_PREFIX = ":tensorflow:serving:"
_MICROSECONDS = [10 * 1.8**power for power in range(33)]
_ROWS = [2.0**power for power in range(11)]


class Metrics:
    """Counts, times and sizes; used from any thread.

    Args:
        waiting: returns the number of rows that wait.
        pixels: returns the number of pixels of image files in flight.
    """

    def __init__(self, waiting: Callable[[], float] = lambda: 0, pixels: Callable[[], float] = lambda: 0):
        self.registry = prometheus_client.CollectorRegistry()

        def metric(kind: Any, name: str, text: str, labels: tuple[str, ...] = (), **options: Any) -> Any:
            return kind(name, text, labels, registry=self.registry, **options)

        def histogram(name: str, text: str, labels: tuple[str, ...], buckets: list[float] = _MICROSECONDS) -> Any:
            return metric(prometheus_client.Histogram, name, text, labels, buckets=buckets)

        gauge, counter, by = prometheus_client.Gauge, prometheus_client.Counter, ("model_name", "API")
        # A gauge keeps its name: the library appends _total to the names of counters.
        self._requests = metric(gauge, f"{_PREFIX}request_count", "Prediction requests.", ("model_name", "status"))
        self._examples = metric(counter, f"{_PREFIX}request_example_count", "Images of each model.", ("model",))
        self._latency = histogram(f"{_PREFIX}request_latency", "Microseconds a request.", (*by, "entrypoint", "status"))
        self._runtime = histogram(f"{_PREFIX}runtime_latency", "Microseconds of calls of a model.", (*by, "runtime"))
        self._rows = histogram("zoo_serving_batch_rows", "Rows of calls of a model.", by[:1], _ROWS)
        metric(gauge, "zoo_serving_waiting_rows", "Rows that wait.").set_function(waiting)
        pixels_gauge = metric(gauge, "zoo_serving_pixels", "Pixels of image files of requests in flight.")
        pixels_gauge.set_function(pixels)
        prometheus_client.ProcessCollector(registry=self.registry)

    def request(self, model: str, api: str, code: str, seconds: float) -> None:
        """Counts a prediction request that ended."""
        self._requests.labels(model, code).inc()
        self._latency.labels(model, "Predict", api, code).observe(seconds * 1e6)

    def call(self, model: str, rows: int, seconds: float) -> None:
        """Counts a call of a model."""
        self._runtime.labels(model, "Predict", "TF").observe(seconds * 1e6)
        self._rows.labels(model).observe(rows)
        self._examples.labels(model).inc(rows)

    def page(self) -> bytes:
        """Returns the text that Prometheus reads."""
        return prometheus_client.generate_latest(self.registry)
