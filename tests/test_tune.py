"""`lamina compile --tune`: what is measured to be faster is chosen, recorded and applied; what computes something else is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from typer.testing import CliRunner

import lamina
from lamina.cli import app
from lamina.runtime import BundleError, Session, machine
from lamina.runtime.manifest import read_manifest
from lamina.runtime.tuning import Settings, Tuning
from lamina.schema.spec import ModelSpec
from lamina.tune import Candidate, tune

SPEC = """
lamina: 1
model: small
inputs: {x: "float32[N, T, 8]"}
dims: {N: {min: 1, opt: 2, max: 4}, T: {min: 1, opt: 6, max: 16}}
body:
  - q = reshape(x, [N, T, 2, 4])
  - attention(permute(q, [0, 2, 1, 3]), permute(q, [0, 2, 1, 3]), permute(q, [0, 2, 1, 3]))
  - permute: [0, 2, 1, 3]
  - reshape: [N, T, 8]
  - linear: 3
outputs: {y: "float32[N, T, 3]"}
"""
Changed = Callable[[Path], None]
Speed = Callable[[Candidate], float]


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    (tmp_path / "spec.yaml").write_text(SPEC)
    return lamina.load(tmp_path / "spec.yaml")


def tuned(spec: ModelSpec, folder: Path, seconds: Speed, at: Mapping[str, int] | None = None, changed: Changed | None = None) -> Tuning:
    """A tuning by a clock that shows what `seconds` says of how a session is written and set up; bundles are `changed` after they are
    written without something."""

    def build(place: Path, tuning: Tuning | None) -> Path:
        lamina.compile(spec, place, ["onnxruntime"], tuning=tuning)
        if changed is not None and tuning is not None:
            changed(place)
        return place

    def clock(session: Session, inputs: Mapping[str, Any]) -> float:
        backend: Any = session._backend
        target = session.manifest.targets.onnxruntime
        assert target is not None
        return seconds(Candidate(backend._settings, frozenset(target.left_out)))

    return tune(spec, build, folder, at, clock=clock)


def applied(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The options of the sessions of ONNX Runtime that are opened from here on."""
    seen: list[Any] = []
    opened = onnxruntime.InferenceSession

    def open_(path: Any, settings: Any, **options: Any) -> Any:
        seen.append(settings)
        return opened(path, settings, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_)
    return seen


def test_the_faster_setting_is_recorded_and_applied(spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tuned(spec, tmp_path, lambda c: (1.0 if c.settings.arena else 0.5) * (0.9 if not c.settings.memory_pattern else 1.0))
    assert found.settings == Settings(arena=False, memory_pattern=False)
    assert found.left_out == ()
    kept = {trial.what: trial.ratio for trial in found.trials if trial.kept}
    together = "all that was kept, against none of it"
    assert kept == pytest.approx({"arena: false": 2.0, "memory_pattern: false": 1 / 0.9, together: 2 / 0.9})
    bundle = lamina.compile(spec, tmp_path / "bundle", tuning=found)
    recorded = read_manifest(bundle).targets
    assert recorded.onnxruntime is not None
    assert recorded.onnxruntime.tuning == found
    assert recorded.onnx is not None
    assert recorded.onnx.tuning is None
    seen = applied(monkeypatch)
    with Session(bundle), Session(bundle, settings=Settings()):
        assert [(one.enable_cpu_mem_arena, one.enable_mem_pattern) for one in seen] == [(False, False), (True, True)]


def test_every_setting_reaches_onnxruntime(spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, seen = lamina.compile(spec, tmp_path / "bundle", ["onnxruntime"]), applied(monkeypatch)
    with Session(bundle, settings=Settings(threads=3, spinning=False, parallel=True, optimisation="extended")):
        (one,) = seen
    assert one.intra_op_num_threads == 3
    assert one.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert one.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    assert one.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED


def test_a_form_that_is_slower_is_left_out(spec: ModelSpec, tmp_path: Path) -> None:
    found = tuned(spec, tmp_path, lambda c: 0.5 if "attention.operator" in c.left_out else 1.0)
    assert found.left_out == ("attention.operator",)
    with_it, without = (lamina.compile(spec, tmp_path / name, tuning=t) for name, t in (("with", None), ("without", found)))
    operators = [{node.op_type for node in onnx.load(place / "model.ort.onnx").graph.node} for place in (with_it, without)]
    assert ["Attention" in found for found in operators] == [True, False]
    assert "Softmax" in operators[1]
    x = np.random.default_rng(0).standard_normal((2, 5, 8), np.float32)
    with Session(with_it) as one, Session(without) as other:
        np.testing.assert_allclose(one(x=x)["y"], other(x=x)["y"], atol=1e-5)


def test_nothing_that_is_no_faster_is_kept(spec: ModelSpec, tmp_path: Path) -> None:
    """Of a clock that shows the same time for all, and of one by which an alternative wins eight rounds of ten."""
    calls = {"arena": 0}

    def luck(candidate: Candidate) -> float:
        calls["arena"] += not candidate.settings.arena
        return 1.0 if candidate.settings.arena else (0.8 if calls["arena"] % 5 else 1.1)

    for seconds in (lambda _: 1.0, luck):
        found = tuned(spec, tmp_path, seconds)
        assert found.settings == Settings()
        assert not any(trial.kept for trial in found.trials)


def test_what_computes_something_else_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    """However fast it is: here bundles that are written without a form have other weights."""

    def other_weights(place: Path) -> None:
        lamina.compile(spec, place, ["onnxruntime"], seed=1)

    found = tuned(spec, tmp_path, lambda c: 0.1 if c.left_out else 1.0, changed=other_weights)
    assert found.left_out == ()
    refused = [trial for trial in found.trials if trial.refused]
    assert {trial.what for trial in refused} >= {"without attention.operator"}
    assert all("computes something else: error" in trial.refused for trial in refused)


def test_what_cannot_run_is_refused(spec: ModelSpec, tmp_path: Path) -> None:
    def broken(place: Path) -> None:
        (place / "model.ort.onnx").write_bytes(bytes((place / "model.ort.onnx").stat().st_size))

    found = tuned(spec, tmp_path, lambda c: 1.0, changed=broken)
    assert any(trial.refused.startswith("it cannot run") for trial in found.trials)
    assert found.left_out == ()


def test_fixed_sizes_run_in_a_session_of_their_own(spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tuned(spec, tmp_path, lambda c: 0.5 if c.settings.sizes else 1.0, at={"N": 1, "T": 4})
    assert found.settings == Settings(sizes={"N": 1, "T": 4})
    bundle, seen = lamina.compile(spec, tmp_path / "bundle", tuning=found), applied(monkeypatch)
    x = np.random.default_rng(0).standard_normal((3, 5, 8), np.float32)
    with Session(bundle) as session, Session(bundle, settings=Settings()) as plain:
        assert len(seen) == 2
        for part in (x[:1, :4], x, x[:1, :4], x[:1]):
            np.testing.assert_allclose(session(x=part)["y"], plain(x=part)["y"], atol=1e-6)
        assert len(seen) == 3  # one more for all other sizes
        static, general = (getattr(session._backend, name).get_inputs()[0].shape for name in ("_session", "_general"))
        assert (static, general) == ([1, 4, 8], ["N", "T", 8])


def test_a_bundle_of_another_machine_says_so_and_runs(spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tuned(spec, tmp_path, lambda c: 1.0 if c.settings.arena else 0.5)
    bundle, x = lamina.compile(spec, tmp_path / "bundle", tuning=found), np.ones((1, 2, 8), np.float32)
    monkeypatch.setattr(machine, "features", lambda: ("sve",))
    seen = applied(monkeypatch)
    with pytest.warns(UserWarning, match=r"was tuned for .* unlike this machine.*compile with --tune here"), Session(bundle) as session:
        assert session(x=x)["y"].shape == (1, 2, 3)
    assert seen[0].enable_cpu_mem_arena


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"sizes": {"N": 9}}}, "N = 9 is tuned for, which is no size that `N` may have"),
        ({"settings": {"sizes": {"Q": 1}}}, "Q = 1 is tuned for"),
        ({"settings": {"threads": 3}, "cores": 2}, "3 threads are tuned for, and 2 cores"),
        ({"settings": {"spin": False}}, "Extra inputs are not permitted"),
    ],
)
def test_a_tuning_that_does_not_fit_is_refused(spec: ModelSpec, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    bundle = lamina.compile(spec, tmp_path / "bundle", ["onnxruntime"])
    manifest = json.loads((bundle / "manifest.json").read_text())
    tuning = {"processor": "one", "features": [], "cores": 1, "onnxruntime": "1"} | changes
    manifest["targets"]["onnxruntime"]["tuning"] = tuning
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=message):
        read_manifest(bundle)


def test_a_manifest_without_a_tuning_is_read(spec: ModelSpec, tmp_path: Path) -> None:
    bundle = lamina.compile(spec, tmp_path / "bundle", ["onnxruntime"])
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["targets"]["onnxruntime"]["tuning"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    target = read_manifest(bundle).targets.onnxruntime
    assert target is not None
    assert target.tuning is None


def test_the_command(spec: ModelSpec, tmp_path: Path) -> None:
    """It measures by itself: of what it finds only the form is certain."""
    run = CliRunner().invoke(app(), ["compile", str(spec.path), "-o", str(tmp_path / "bundle"), "--tune", "--at", "N=1,T=4"])
    assert run.exit_code == 0, run.output
    target = read_manifest(tmp_path / "bundle").targets.onnxruntime
    assert target is not None
    assert target.tuning is not None
    assert target.tuning.at == {"N": 1, "T": 4}
    assert target.tuning.features == machine.features()
    tried = [trial.what for trial in target.tuning.trials]
    assert {"without attention.operator", "threads: 1", "spinning: false", "fixed sizes: N=1, T=4"} <= {*tried}
    assert run.output.count("x (") == sum(not trial.refused for trial in target.tuning.trials)
    assert sorted(place.name for place in tmp_path.iterdir() if not place.name.startswith(".")) == ["bundle", "spec.yaml"]


def test_a_tuned_bundle_is_verified_and_profiled(spec: ModelSpec, tmp_path: Path) -> None:
    """Its nodes are others than the spec makes by itself, and lead to its lines all the same; sizes that stay do not hinder a trace."""
    found = tuned(
        spec, tmp_path, lambda c: (0.5 if "attention.operator" in c.left_out else 1.0) * (0.5 if c.settings.sizes else 1), {"N": 1}
    )
    assert (found.left_out, found.settings.sizes) == (("attention.operator",), {"N": 1})
    bundle = lamina.compile(spec, tmp_path / "bundle", tuning=found)
    for command in (["verify"], ["show", "--profile", "--at", "N=2,T=4"]):
        run = CliRunner().invoke(app(), [command[0], str(bundle), *command[1:]])
        assert run.exit_code == 0, run.output
    assert "attention(permute" in run.output


def test_candidates_are_values() -> None:
    """A change leaves what it was made of, and is the same each time."""
    plain = Candidate()
    assert plain.without("a") == plain.without("a").without("a") != plain
    assert plain.with_settings(threads=1) == dataclasses.replace(plain, settings=Settings(threads=1))
    assert plain == Candidate()
