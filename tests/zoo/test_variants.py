"""Every variant of every spec, whole: `make evidence` runs this and records what it shows. Its dims are at their smallest."""

from __future__ import annotations

from pathlib import Path

import pytest
from cases import references
from checks import bundle, onnx_runtime, pytorch, tensorrt
from evidence import Record
from zoo import SPECS, Case, files, model, variants

import lamina
from lamina.compiler.summary import parameter_count

SESSIONS = (("model.onnx", "ORT_DISABLE_ALL"), ("model.ort.onnx", "ORT_ENABLE_ALL"))  # the small form is tried at every level
pytestmark = pytest.mark.sweep
each = pytest.mark.parametrize("case", [case for path in files() for case in variants(path)], ids=str)


@each
def test_parameters(case: Case, record: Record) -> None:
    graph = model(case).graph
    assert all(isinstance(size, int) for p in graph.parameters() for size in p.shape)
    published = lamina.load(case.path).published.get(case.variant or "")
    stated = f", published {published.params}" if published and published.params else ""
    peers = {c.reference for c in references() if SPECS / f"{c.spec}.yaml" == case.path and c.variant == case.variant and c.whole}
    stated += "".join(f", as {peer}" for peer in sorted(peers))
    record(case.path, case.variant, "parameters", f"{parameter_count(graph)}{stated}")


@each
def test_onnx_runtime_agrees(case: Case, record: Record) -> None:
    with bundle(case) as folder:
        worst = onnx_runtime(case, folder, SESSIONS)
    record(case.path, case.variant, "onnxruntime", f"within {worst:.0e} of float64")


@each
def test_pytorch_agrees(case: Case, record: Record) -> None:
    record(case.path, case.variant, "torch", f"within {pytorch(case):.0e} of float64")


@each
def test_tensorrt_builds(case: Case, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path))
    record(case.path, case.variant, "tensorrt", f"builds whole with {tensorrt(case)}")
