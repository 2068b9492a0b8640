"""Thrice as many requests as a server can answer, by the clock: what is accepted comes in time, and the rest is refused at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from benchmarks.serving.figures import percentile
from benchmarks.serving.models import MINILM, in_bytes
from benchmarks.serving.server import lamina

SECONDS = 70.0
DEADLINE_MS = 500.0
_FACTOR = 3.0
_LEARN = 8.0  # seconds to find what can be answered
_CONNECTIONS = 256


def measure(seconds: float) -> dict[str, Any]:
    """Counts, and milliseconds from when a request was due to its answer."""
    request = in_bytes(MINILM)
    timed = replace(request, headers={**request.headers, "X-Request-Timeout": str(DEADLINE_MS / 1000)})
    learn = min(_LEARN, seconds / 4)
    with lamina(MINILM) as server:
        capacity = server.ask(request, 32, learn).throughput
        found = server.ask(timed, _CONNECTIONS, seconds - learn, rate=_FACTOR * capacity)
        memory = server.memory
    refused, late = found.times.get("503", []), found.times.get("504", [])
    return {
        "seconds": round(found.seconds, 1),
        "capacity": round(capacity, 1),
        "asked": round(sum(map(len, found.times.values())) / found.seconds, 1),
        "statuses": {status: len(times) for status, times in found.times.items()},
        "answered": round(found.throughput, 1),
        "accepted_p50": percentile(found.answered, 50),
        "accepted_p99": percentile([*found.answered, *late], 99),
        "refused_p50": percentile(refused, 50),
        "refused_p99": percentile(refused, 99),
        "memory": round(memory, 1),
        "client": round(found.processor, 3),
    }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """As Markdown."""
    yield f"For {found['seconds']:.0f} s, {found['asked']:.0f} requests a second were sent to a server that"
    yield f"had answered {found['capacity']:.0f} a second of clients that wait for their answers."
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(found["statuses"].items()))
    yield f"It answered {found['answered']:.0f} a second (statuses: {statuses}).\n"
    yield "| | p50 | p99 |\n|---|---|---|"
    yield f"| accepted (at p99 also those that came too late) | {found['accepted_p50']:.0f} ms | {found['accepted_p99']:.0f} ms |"
    yield f"| refused | {found['refused_p50']:.1f} ms | {found['refused_p99']:.1f} ms |\n"
    yield f"Bound: accepted within their deadline, {DEADLINE_MS:.0f} ms, at p99."
