"""What `lamina check --target` accepts builds: a few random specs, and those that once were accepted and did not."""

from __future__ import annotations

from pathlib import Path

import pytest
import sound
import torch

import lamina
from lamina.compiler import support
from lamina.schema.diagnostics import Diagnostic, Span, SpecError

ONCE = sorted((Path(__file__).parent / "unsound").glob("*.yaml"))


@pytest.fixture(autouse=True)
def one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "engines"))
    torch.set_num_threads(1)


@pytest.mark.parametrize("path", ONCE, ids=lambda path: path.stem)
def test_builds_now(path: Path) -> None:
    found = sound.shown(sound.Case(path.stem, path.stem.partition("_")[0], str(path)))
    assert (found.refused, found.failed) == ("", "")


@pytest.mark.parametrize("target", ["onnx", "onnxruntime"])
def test_random_specs(target: str) -> None:
    found = [sound.shown(sound.Case(str(number), target)) for number in range(30)]
    assert [f"{s.refused}{s.failed}" for s in found if s.finding] == []
    assert {bool(s.refused) for s in found} == {True, False}, "some are refused, and do not build"


@pytest.mark.parametrize("precision", sound.ROUNDED)
def test_precisions(precision: str) -> None:
    found = sound.shown(sound.Case("tagger", "onnxruntime", "specs/layer/moa.yaml", None, precision))
    assert (found.refused, found.failed) == ("", "")


def test_false_accepts_and_refusals_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison itself: a builder that fails, then a check that refuses."""

    def refuse(*arguments: object, **named: object) -> None:
        raise SpecError([Diagnostic("torch", "no", Span("spec.yaml", 1, 1))])

    case = sound.Case("names", "onnx", str(ONCE[-1]))
    with monkeypatch.context() as changed:
        changed.setattr(lamina, "compile", refuse)
        accepted = sound.shown(case)
    monkeypatch.setattr(support, "check_target", refuse)
    refused = sound.shown(case)
    assert (accepted.finding, refused.finding) == ("false accept", "false refusal")
    rates = {k: v for k, v in sound.figures({case: accepted}).items() if k.startswith("false")}
    assert rates == {"false accepts, of all that was accepted": "100.00%", "false refusals, of all that builds": "0.00%"}


def test_a_builder_that_dies_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "LIMIT", 0.01)
    assert sound.Builder().ask(sound.Case("0", "onnx")).finding == "false accept"
