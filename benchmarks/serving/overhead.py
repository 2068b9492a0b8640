"""What a request costs beside the model's call: one client, one row, tensors as bytes, by turns with the bare session."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.serving.bare import Bare
from benchmarks.serving.figures import percentile
from benchmarks.serving.models import MINILM, MLP, TINY, Model, in_bytes
from benchmarks.serving.server import lamina

SECONDS = 30.0
BOUND_MS = 1.0
_ROUNDS = 5


def measure(seconds: float) -> dict[str, Any]:
    """Milliseconds by model: medians over rounds. `over` is of one round, the server's median less the session's."""
    return {model.title: _of(model, seconds / 3 / _ROUNDS / 2) for model in (MINILM, MLP, TINY)}


def _of(model: Model, turn: float) -> dict[str, float]:
    request, rounds = in_bytes(model), []
    with lamina(model) as server, Bare(model) as bare:
        server.ask(request, 1, 0.5)
        for _ in range(_ROUNDS):
            alone = bare.calls(1, turn)
            session = statistics.median(alone.times)
            spent, found = server.processor, server.ask(request, 1, turn)
            rounds.append(
                {
                    "session": session,
                    "server": percentile(found.answered, 50),
                    "over": percentile(found.answered, 50) - session,
                    "processor": 1000 * (server.processor - spent) / len(found.answered) - alone.processor,
                    "client": found.processor,
                }
            )
    return {key: round(statistics.median(one[key] for one in rounds), 3) for key in rounds[0]}


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """As Markdown."""
    yield "| model | session, p50 | server, p50 | over | processor's time over | client's share of a core |\n|---|---|---|---|---|---|"
    for title, one in found.items():
        times = " | ".join(f"{one[key]:.2f} ms" for key in ("session", "server", "over", "processor"))
        yield f"| {title} | {times} | {one['client']:.2f} |"
    worst = max(one["over"] for one in found.values())
    yield f"\nThe most over: {worst:.2f} ms (bound {BOUND_MS} ms)."
