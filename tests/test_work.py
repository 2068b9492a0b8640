"""`verify` counts what experts multiply when a bundle runs, and fails where it is more than their choices ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_routing import TOKENS, spec

import lamina
from lamina.compiler.ops.moe import Moe
from lamina.verify import verify

OUTPUT = {"y": "float32[T, 8]"}


@pytest.mark.parametrize(("target", "instructions"), [("onnx", ""), ("onnxruntime", ""), ("onnxruntime", "none")])
def test_experts_work_as_often_as_they_are_chosen(target: str, instructions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_INSTRUCTIONS", instructions)
    made = spec(tmp_path, ["weight, choice = token_choice(logits, 2)", TOKENS], OUTPUT)
    report = verify(lamina.compile(made, tmp_path / "bundle", [target]))
    (work,) = report.work
    assert report.passed
    tokens = report.comparisons[-1].dims["T"]
    assert work.due == tokens * 2 * (8 * 12 + 12 * 8)
    assert work.done == work.due


def test_choices_that_are_nobodys_cost_nothing(tmp_path: Path) -> None:
    steps = ["weight, all = token_choice(logits, 2)", "choice = where(all == 5, all, -1)", TOKENS]
    (work,) = verify(lamina.compile(spec(tmp_path, steps, OUTPUT), tmp_path / "bundle", ["onnx"])).work  # the kernel counts its zeros
    assert 0 < work.done < work.due / 2


def test_a_graph_that_went_dense_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Moe, "by_pieces", lambda *args, **weights: NotImplemented)
    made = spec(tmp_path, ["weight, choice = token_choice(logits, 2)", TOKENS], OUTPUT)
    report = verify(lamina.compile(made, tmp_path / "bundle", ["onnx"]))
    (work,) = report.work
    assert all(c.passed for c in report.comparisons)
    assert work.done == 3 * work.due  # all six experts see every token, which chose two
    assert not report.passed
