"""OpenTelemetry: FastAPI makes a span of each request, which go where OTEL_EXPORTER_OTLP_ENDPOINT says, if its packages are here."""

from __future__ import annotations

from importlib.util import find_spec

from fastapi.telemetry import TelemetryConfig

_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def telemetry() -> TelemetryConfig:
    """Spans of requests alone: Prometheus has the metrics, and stderr the logs."""
    return TelemetryConfig(auto_configure=all(map(_is_here, _PACKAGES)), metrics=False, logs=False, operation_spans=False)


def _is_here(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of what it is in
        return False
