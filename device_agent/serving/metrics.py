"""What Prometheus reads: counts of requests, and the agent's state at the moment of reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from device_agent.inference.answering import AnsweringModel
from device_agent.serving.queueing.running import Run

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """A registry of its own, so that nothing of the process' other libraries is in it.

    Names of models come from the models that answer, never from requests: their number stays small.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._requests = Counter(
            "nestfleet_requests",
            "Requests for inference by what became of them",
            ["model", "protocol", "outcome"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "nestfleet_request_seconds",
            "From a request's first byte to its answer",
            ["model", "protocol"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._queue_seconds = Histogram(
            "nestfleet_queue_seconds",
            "How long answered requests waited for their turn",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._inference_seconds = Histogram(
            "nestfleet_inference_seconds", "Runs of a model", ["model"], buckets=_SECONDS, registry=registry
        )
        self._batch_rows = Histogram(
            "nestfleet_batch_rows", "Rows of a run", ["model"], buckets=_ROWS, registry=registry
        )
        ProcessCollector(namespace="nestfleet", registry=registry)

    def requested(self, model: str, protocol: str, outcome: str) -> None:
        """A request came to its end."""
        self._requests.labels(model, protocol, outcome).inc()

    def answered(self, model: str, protocol: str, *, seconds: float, waited_seconds: float) -> None:
        """A request has its answer."""
        self._request_seconds.labels(model, protocol).observe(seconds)
        self._queue_seconds.labels(model).observe(waited_seconds)

    def ran(self, model: str, runs: Sequence[Run]) -> None:
        """A model was called."""
        for run in runs:
            self._inference_seconds.labels(model).observe(run.seconds)
            self._batch_rows.labels(model).observe(run.rows)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


class StateCollector(Collector):
    """The state, asked for at each reading.

    Args:
        models: Those that answer.
        queue_length: Requests that wait for a model.
        held_bytes: Memory that requests hold.
        status: The agent's status, as ``GET /nestfleet/status`` gives it.
    """

    def __init__(
        self,
        models: Callable[[], Mapping[str, AnsweringModel]],
        queue_length: Callable[[str], int],
        held_bytes: Callable[[], int],
        status: Callable[[], dict[str, Any]],
    ) -> None:
        self._models = models
        self._queue_length = queue_length
        self._held_bytes = held_bytes
        self._status = status

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """What there is now."""
        yield from self._of_models()
        yield GaugeMetricFamily(
            "nestfleet_request_memory_bytes", "Memory that requests hold", value=self._held_bytes()
        )
        status = self._status()
        for key, meaning in (
            ("memory_budget_bytes", "Memory that weights may take"),
            ("disk_bytes", "Blobs on disk"),
            ("month_bytes", "Bytes moved in this calendar month"),
        ):
            if key in status:
                yield GaugeMetricFamily(f"nestfleet_{key}", meaning, value=status[key])
        moved = CounterMetricFamily("nestfleet_moved_bytes", "Bytes moved over the link", labels=["kind"])
        for kind, size_bytes in status.get("ledger", {}).items():
            moved.add_metric([kind], size_bytes)
        yield moved

    def _of_models(self) -> Iterator[GaugeMetricFamily]:
        labels = ["model", "version"]
        level = GaugeMetricFamily("nestfleet_model_level_bits", "Lowest level of any block", labels=labels)
        resident = GaugeMetricFamily("nestfleet_resident_bytes", "Memory that weights take", labels=labels)
        queue = GaugeMetricFamily("nestfleet_queue_length", "Requests that wait", labels=["model"])
        for name, model in self._models().items():
            level.add_metric([name, str(model.version)], model.level)
            resident.add_metric([name, str(model.version)], model.resident_bytes)
            queue.add_metric([name], self._queue_length(name))
        yield from (level, resident, queue)
