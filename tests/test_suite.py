"""What the benchmark suite makes of its measurements, and that what it races is in the zoo."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.suite.model import Model, models
from benchmarks.suite.results import best_peer, mean, ratio, ratios
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import within

ROOT = Path(__file__).parents[1]
RACED = [pytest.param(model, id=model.name) for members in models().values() for model in members]


@pytest.mark.parametrize("model", RACED)
def test_what_is_raced_is_in_the_zoo(model: Model) -> None:
    assert [problem for batch in (1, 8) for problem in within(elaborate(model.load()).dims, model.at(batch))] == []


def raced(ours: list[float], **peers: list[float] | str) -> dict[str, Any]:
    return {"lamina": {"seconds": ours}} | {p: {"failed": s} if isinstance(s, str) else {"seconds": s} for p, s in peers.items()}


def test_ratios_are_of_one_round() -> None:
    """A round that was slow for both counts as any other."""
    peers = raced([1.0, 10.0, 1.0], eager=[2.0, 20.0, 3.0], other="it cannot")
    assert ratio(peers, "eager")[1] == 2.0
    assert best_peer(peers) == "eager"
    assert best_peer(raced([1.0], other="it cannot")) is None


def test_the_best_peer_of_each_model_counts() -> None:
    found = {
        "a": {"batches": {"1": raced([1.0], x=[4.0], y=[8.0])}},
        "b": {"batches": {"1": raced([1.0], x="no"), "8": raced([2.0], y=[2.0])}},
    }
    assert ratios(found) == {("a", "1"): 4.0, ("b", "8"): 1.0}
    assert mean(found) == pytest.approx(2.0)


@pytest.mark.parametrize(("after", "status", "text"), [(3.0, 1, "-25%"), (3.9, 0, ""), (5.0, 0, "+25%")])
def test_two_runs_are_compared(after: float, status: int, text: str, tmp_path: Path) -> None:
    paths = []
    for name, theirs in (("before", 4.0), ("after", after)):
        paths.append(tmp_path / name)
        paths[-1].write_text(json.dumps({"models": {"a": {"batches": {"1": raced([1.0], x=[theirs])}}}}))
    command = [sys.executable, "-m", "benchmarks.suite.compare", *map(str, paths)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == status
    assert text in found.stdout
    assert bool(found.stdout) == bool(text)
