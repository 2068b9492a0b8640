"""What the figures of a race say."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.suite.race import OURS

Peers = Mapping[str, Mapping[str, Any]]


def milliseconds(peers: Peers, peer: str) -> float:
    return 1000 * statistics.median(peers[peer]["seconds"])


def ratio(peers: Peers, peer: str) -> tuple[float, float, float]:
    """A peer's time over ours in the same round: the 10th percentile, the median and the 90th."""
    found = [theirs / ours for theirs, ours in zip(peers[peer]["seconds"], peers[OURS]["seconds"], strict=True)]
    if len(found) == 1:
        return found[0], found[0], found[0]
    tenths = statistics.quantiles(found, n=10, method="inclusive")
    return tenths[0], statistics.median(found), tenths[-1]


def best_peer(peers: Peers) -> str | None:
    """The fastest of the others; None where none can do it."""
    able = [peer for peer in peers if peer != OURS and "seconds" in peers[peer]]
    return min(able, key=lambda peer: ratio(peers, peer)[1]) if able else None


def ratios(models: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Of each model and batch, the best peer's time over ours."""
    found = {}
    for name, model in models.items():
        for batch, peers in model["batches"].items():
            if "seconds" in peers[OURS] and (best := best_peer(peers)) is not None:
                found[name, batch] = ratio(peers, best)[1]
    return found


def mean(models: Mapping[str, Any]) -> float:
    """The geometric mean of those."""
    return statistics.geometric_mean(ratios(models).values())
