"""What is counted, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from lamina.runtime.serve.repository import Repository

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@final
class Metrics:
    """One server's. Labels are routes and models that there are, never what a request says."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        model = ("model", "version")
        self._requests = Counter("lamina_requests", "Answered requests", ("route", "status"), registry=self._registry)
        self._seconds = Histogram(
            "lamina_request_seconds", "From a request to its answer", ("route",), buckets=_SECONDS, registry=self._registry
        )
        self._calls = Histogram("lamina_call_seconds", "Calls of a model", model, buckets=_SECONDS, registry=self._registry)
        self._rows = Histogram("lamina_call_rows", "Rows of a call", model, buckets=_ROWS, registry=self._registry)
        self._joined = Counter("lamina_call_requests", "Requests that calls answered", model, registry=self._registry)
        self._tokens = Counter("lamina_tokens", "Generated tokens", model, registry=self._registry)
        self._step_rows = Histogram(
            "lamina_step_rows", "Texts that a step of a decoder goes on with", model, buckets=_ROWS, registry=self._registry
        )
        self._first = Histogram(
            "lamina_first_token_seconds", "From a request to the first token of a text", model, buckets=_SECONDS, registry=self._registry
        )
        self._next = Histogram(
            "lamina_token_seconds", "From a token of a text to the next", model, buckets=_SECONDS, registry=self._registry
        )
        self._active = Gauge("lamina_active_requests", "Requests that are being answered", registry=self._registry)

    def began(self) -> None:
        """A request came."""
        self._active.inc()

    def ended(self, route: str, status: int, seconds: float) -> None:
        """It was answered."""
        self._active.dec()
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def called(self, model: str, version: str, requests: int, rows: int, seconds: float) -> None:
        """A model made one call for so many requests."""
        self._calls.labels(model, version).observe(seconds)
        self._rows.labels(model, version).observe(rows)
        self._joined.labels(model, version).inc(requests)

    def of_texts(self, model: str, version: str) -> TextMetrics:
        """What is counted of the texts of a model."""
        of = (model, version)
        return TextMetrics(self._step_rows.labels(*of), self._tokens.labels(*of), self._first.labels(*of), self._next.labels(*of))

    def watch(self, repository: Repository) -> None:
        """Tell how many requests wait, too."""
        self._registry.register(_Waiting(repository))

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)


@final
@dataclass(frozen=True, slots=True)
class TextMetrics:
    """Of the texts of one model. Safe to call from several threads."""

    rows: Histogram
    tokens: Counter
    first: Histogram
    following: Histogram

    def stepped(self, texts: int) -> None:
        """A step went on with so many texts."""
        self.rows.observe(texts)

    def wrote(self, tokens: int, seconds: float, first: bool) -> None:
        """A text got tokens, so long after those before; if they are its first, after it was asked for."""
        self.tokens.inc(tokens)
        (self.first if first else self.following).observe(seconds)


@final
class _Waiting(Collector):
    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def collect(self) -> Iterator[GaugeMetricFamily]:
        waiting = GaugeMetricFamily("lamina_waiting_requests", "Requests that wait for a model", labels=["model", "version"])
        for name, versions in self._repository.models.items():
            for version, served in versions.items():
                waiting.add_metric([name, version], served.waiting)
        yield waiting
