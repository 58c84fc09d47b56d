"""Metrics for Prometheus, by the names of TensorFlow Serving, so that dashboards for it show them."""

from collections.abc import Callable
from typing import Any

import prometheus_client

PATH = "/monitoring/prometheus/metrics"
_PREFIX = ":tensorflow:serving:"
_MICROSECONDS = [10 * 1.8**power for power in range(33)]
_ROWS = [2**power for power in range(11)]


class Metrics:
    """Counts, times and sizes; used from the event loop only.

    Args:
        waiting: returns the number of rows that wait.
    """

    def __init__(self, waiting: Callable[[], float] = lambda: 0):
        self.registry = prometheus_client.CollectorRegistry()

        def metric(kind: Any, name: str, text: str, *labels: str, **options: Any) -> Any:
            return kind(name, text, labels, registry=self.registry, **options)

        histogram, prefix = prometheus_client.Histogram, _PREFIX
        # A gauge, which keeps its name: the library appends _total to the names of counters.
        self._requests = metric(
            prometheus_client.Gauge, f"{prefix}request_count", "Prediction requests.", "model_name", "status"
        )
        self._latency = metric(
            histogram,
            f"{prefix}request_latency",
            "Microseconds from a request to its answer.",
            *("model_name", "API", "entrypoint", "status"),
            buckets=_MICROSECONDS,
        )
        self._runtime = metric(
            histogram,
            f"{prefix}runtime_latency",
            "Microseconds of a call of a model.",
            *("model_name", "API", "runtime"),
            buckets=_MICROSECONDS,
        )
        self._examples = metric(
            prometheus_client.Counter, f"{prefix}request_example_count", "Images of each model.", "model"
        )
        self._rows = metric(
            histogram, "zoo_serving_batch_rows", "Rows of a call of a model.", "model_name", buckets=_ROWS
        )
        metric(prometheus_client.Gauge, "zoo_serving_waiting_rows", "Rows that wait.").set_function(waiting)
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
