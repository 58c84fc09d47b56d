"""Metrics for Prometheus, under the names that TensorFlow Serving gives them, so that its dashboards show them."""

import prometheus_client
from prometheus_client import core

PATH = "/monitoring/prometheus/metrics"
_PREFIX = ":tensorflow:serving:"
# Microseconds: 33 limits from 10 on, each 1.8 times the one before.
_BUCKETS = [10 * 1.8**power for power in range(33)]


class _Counts:
    """A counter whose samples have the name itself: the library's own counters add a suffix."""

    def __init__(self, name, text, labels):
        self._name, self._text, self._labels = name, text, labels
        self._values = {}

    def add(self, *values, amount=1):
        self._values[values] = self._values.get(values, 0) + amount

    def collect(self):
        family = core.Metric(self._name, self._text, "untyped")
        for values, amount in list(self._values.items()):
            family.add_sample(self._name, dict(zip(self._labels, values, strict=True)), amount)
        yield family


class Metrics:
    """Counts, times and sizes; used from the event loop only.

    Args:
        waiting: function that tells how many rows wait.
    """

    def __init__(self, waiting=lambda: 0):
        self.registry = prometheus_client.CollectorRegistry()
        options = {"registry": self.registry, "buckets": _BUCKETS}
        self._requests = _Counts(f"{_PREFIX}request_count", "Requests for predictions.", ("model_name", "status"))
        self.registry.register(self._requests)
        self._rows = _Counts(f"{_PREFIX}request_example_count_total", "Images, by model.", ("model",))
        self.registry.register(self._rows)
        self._latency = prometheus_client.Histogram(
            f"{_PREFIX}request_latency",
            "Microseconds from a request to its answer.",
            ("model_name", "API", "entrypoint", "status"),
            **options,
        )
        self._runtime = prometheus_client.Histogram(
            f"{_PREFIX}runtime_latency",
            "Microseconds of one call of a model.",
            ("model_name", "API", "runtime"),
            **options,
        )
        self._batches = prometheus_client.Histogram(
            "zoo_serving_batch_rows",
            "Rows of one call of a model.",
            ("model_name",),
            registry=self.registry,
            buckets=[2**power for power in range(11)],
        )
        gauge = prometheus_client.Gauge("zoo_serving_waiting_rows", "Rows that wait.", registry=self.registry)
        gauge.set_function(waiting)
        prometheus_client.ProcessCollector(registry=self.registry)

    def request(self, model, entrypoint, code, seconds):
        """A request ended."""
        self._requests.add(model, code)
        self._latency.labels(model, "Predict", entrypoint, code).observe(seconds * 1e6)

    def call(self, key, rows, seconds):
        """A model was called; the batcher's `key` begins with the servable."""
        model = key[0].name
        self._runtime.labels(model, "Predict", "TF").observe(seconds * 1e6)
        self._batches.labels(model).observe(rows)
        self._rows.add(model, amount=rows)

    def page(self):
        """The text that Prometheus reads."""
        return prometheus_client.generate_latest(self.registry)
