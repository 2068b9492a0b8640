"""Rows a second of 64 clients, each with one row at a time: joined, and not joined, by turns with the bare session at its best batch."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.serving.bare import Bare
from benchmarks.serving.models import MINILM, MLP, SHORT, Model, in_bytes
from benchmarks.serving.server import lamina

SECONDS = 120.0
BOUND_SESSION, BOUND_UNJOINED = 0.9, 2.0
_ROUNDS = 4
_BATCHES = (1, 2, 4, 8, 16, 32)
_CLIENTS = 64


def measure(seconds: float) -> dict[str, Any]:
    """Rows a second by model: medians over rounds, and ratios, which are of one round."""
    return {model.title: _of(model, seconds / 3) for model in (SHORT, MINILM, MLP)}


def _of(model: Model, seconds: float) -> dict[str, Any]:
    request, rounds, clients = in_bytes(model), [], []
    turn = seconds / (_ROUNDS + 1) / 3
    with lamina(model) as joined, lamina(model, "--batch", 1) as apart, Bare(model) as bare:
        rates = {rows: 1000 * rows / statistics.median(bare.calls(rows, turn / 2).times) for rows in _BATCHES}
        best = max(rates, key=lambda rows: rates[rows])
        for _ in range(_ROUNDS):
            times = bare.calls(best, turn).times
            found = [server.ask(request, _CLIENTS, turn) for server in (joined, apart)]
            clients.append(found[0].processor)
            rounds.append({"session": 1000 * best / statistics.mean(times), "joined": found[0].throughput, "apart": found[1].throughput})
    middle = {key: round(statistics.median(one[key] for one in rounds), 1) for key in rounds[0]}
    return {
        **middle,
        "batch": best,
        "session_alone": round(rates[1], 1),
        "of_session": round(statistics.median(one["joined"] / one["session"] for one in rounds), 3),
        "of_apart": round(statistics.median(one["joined"] / one["apart"] for one in rounds), 3),
        "client": round(statistics.median(clients), 3),
    }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """As Markdown."""
    columns = ("model", "session, one row", "session, best batch", "served, not joined", "served, joined", "of the best batch")
    yield f"| {' | '.join(columns)} | of not joined | client's share of a core |\n|---|---|---|---|---|---|---|---|"
    for title, one in found.items():
        yield (
            f"| {title} | {one['session_alone']:.0f} | {one['session']:.0f} (of {one['batch']}) | {one['apart']:.0f} | {one['joined']:.0f} "
            f"| {one['of_session']:.2f}x | {one['of_apart']:.2f}x | {one['client']:.2f} |"
        )
    yield f"\nBounds: {BOUND_SESSION}x of the best batch, {BOUND_UNJOINED}x of what is not joined."
