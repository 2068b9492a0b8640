"""Every variant of every spec, whole: `make evidence` runs this and records what it shows. Its dims are at their smallest."""

from __future__ import annotations

from pathlib import Path

import pytest
from cases import references
from checks import bundle, onnx_runtime, pytorch, tensorrt
from evidence import LARGEST, Record
from zoo import SPECS, Case, files, model, variants

import lamina
from lamina.compiler.summary import parameter_count

SESSIONS = (("model.onnx", "ORT_DISABLE_ALL"), ("model.ort.onnx", "ORT_ENABLE_ALL"))  # the small form is tried at every level
CASES = [case for path in files() for case in variants(path)]


@pytest.mark.sweep
@pytest.mark.parametrize("case", CASES, ids=str)
def test_variant(case: Case, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is costly, the reference in float64, is computed once for all. What is too large to be run is counted alone."""
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path))
    record(case.path, case.variant, "parameters", _parameters(case))
    if parameter_count(model(case).graph) > LARGEST:
        return
    record(case.path, case.variant, "torch", f"within {pytorch(case):.0e} of float64")
    with bundle(case) as folder:
        worst = onnx_runtime(case, folder, SESSIONS)
    record(case.path, case.variant, "onnxruntime", f"within {worst:.0e} of float64")
    record(case.path, case.variant, "tensorrt", f"builds whole with {tensorrt(case)}")


def _parameters(case: Case) -> str:
    """The number of parameters, what was published, and whose count it equals."""
    graph = model(case).graph
    assert all(isinstance(size, int) for p in graph.parameters() for size in p.shape)
    published = lamina.load(case.path).published.get(case.variant or "")
    stated = f", published {published.params}" if published and published.params else ""
    peers = {c.reference for c in references() if SPECS / f"{c.spec}.yaml" == case.path and c.variant == case.variant and c.whole}
    return f"{parameter_count(graph)}{stated}" + "".join(f", as {peer}" for peer in sorted(peers))
