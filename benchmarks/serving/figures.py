"""What measured times say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def percentile(times: Sequence[float], percent: float) -> float:
    """The smallest of the times that at least so many percent of them do not exceed."""
    if not times:
        raise ValueError("there are no times")
    ordered = sorted(times)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


def at_most(levels: Sequence[Mapping[str, float]], p99: float) -> float | None:
    """The highest throughput of those levels of load whose 99th percentile is at most `p99`; None if none is."""
    return max((level["throughput"] for level in levels if level["p99"] <= p99), default=None)
