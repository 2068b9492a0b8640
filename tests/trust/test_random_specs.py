"""Random specs are valid, and what they compile to agrees with float64; and so do the specs that once did not."""

from __future__ import annotations

from pathlib import Path

import agree
import pytest
from hypothesis import given, settings
from random_specs import Drawn, numbered, simpler, specs

import lamina

REGRESSIONS = sorted((Path(__file__).parent / "regressions").rglob("*.yaml"))


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_specs_that_once_failed(path: Path) -> None:
    assert agree.check(path, None, exported=path.parent.name == "exported").refused == ()


@pytest.mark.parametrize("first", [0, 100])
def test_targets_agree(first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agree, "FOLDER", tmp_path / "found")
    run = agree.Run()
    run.batch(range(first, first + 100), tmp_path)
    assert [path.read_text(encoding="utf-8") for path in sorted(tmp_path.glob("found/*/spec.yaml"))] == []
    assert run.tally["wide bounds"] <= 5


def test_other_weights_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself: PyTorch's module gets the numbers of another seed."""
    right = lamina.to_torch
    monkeypatch.setattr(lamina, "to_torch", lambda spec: right(spec, seed=1))
    path = Path(__file__).parent.parent / "language" / "06_learned_functions.yaml"
    with pytest.raises(agree.Disagreement, match=r"^PyTorch at .*: off by .*, where rounding explains"):
        agree.check(path, None)


def test_findings_are_made_simple() -> None:
    whole = next(drawn for drawn in map(numbered, range(100)) if drawn.count["softmax"] and len(drawn.choices) > 100)
    small = simpler(whole, lambda drawn: drawn.count["softmax"] > 0)
    assert len(small.text) < len(whole.text) / 2


@given(drawn=specs())
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_specs_are_valid(tmp_path_factory: pytest.TempPathFactory, drawn: Drawn) -> None:
    assert lamina.check(drawn.write(tmp_path_factory.getbasetemp() / "drawn"), drawn.variant) == ()
