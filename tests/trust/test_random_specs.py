"""Random specs are valid, and what they compile to agrees with float64; and so do the specs that once did not."""

from __future__ import annotations

from pathlib import Path

import agree
import pytest
from hypothesis import given, settings
from random_specs import Drawn, specs

import lamina

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.yaml"))


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_specs_that_once_failed(path: Path) -> None:
    agree.check(path, None)


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_targets_agree(first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agree, "FOLDER", tmp_path / "found")
    run = agree.Run(tensorrt=0)
    run.batch(range(first, first + 20), tmp_path)
    found = [path.read_text(encoding="utf-8") for path in sorted(tmp_path.glob("found/*"))]
    assert not found, found[0]
    assert run.tally["specs"] == 20
    assert run.tally["wide bounds"] <= 3


@given(drawn=specs())
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_specs_are_valid(tmp_path_factory: pytest.TempPathFactory, drawn: Drawn) -> None:
    path = tmp_path_factory.getbasetemp() / "drawn.yaml"
    path.write_text(drawn.text, encoding="utf-8")
    assert lamina.check(path, drawn.variant) == ()
