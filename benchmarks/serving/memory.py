"""What a server holds while it answers 100,000 requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.serving.models import TINY, in_bytes
from benchmarks.serving.server import lamina

SECONDS = 120.0
_REQUESTS = 100_000
_PARTS = 10


def measure(seconds: float) -> dict[str, Any]:
    """Megabytes after each tenth of the requests, or of what fits into the time."""
    request, held, answered = in_bytes(TINY), list[float](), 0
    with lamina(TINY) as server:
        for _ in range(_PARTS):
            found = server.ask(request, 16, seconds / _PARTS, requests=_REQUESTS // _PARTS)
            answered += len(found.answered)
            held.append(round(server.memory, 2))
    return {"requests": answered, "megabytes": held, "grown": round(held[-1] - held[0], 2)}


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """As Markdown."""
    first, *_, last = found["megabytes"]
    most = max(found["megabytes"])
    yield f"{found['requests']} requests: {first:.1f} MB after the first tenth, {last:.1f} MB after the last, {most:.1f} MB at most."
