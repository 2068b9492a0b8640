"""TensorRT takes every variant of every spec of the zoo whole: an engine that is built holds the entire graph and its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from evidence import Record

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import parameter_count
from lamina.runtime.manifest import read_manifest

SPECS = Path(__file__).parents[2] / "specs"
FILES = [path for path in sorted(SPECS.rglob("*.yaml")) if path.parent.name != "blocks"]
CASES = [
    pytest.param(path, variant, id=f"{path.stem}-{variant or 'default'}")
    for path in FILES
    for variant in lamina.load(path).variants or [None]
]


@pytest.mark.parametrize(("path", "variant"), CASES)
def test_engine_builds_with_a_dynamic_batch(
    path: Path, variant: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    spec = lamina.load(path, variant=variant)
    graph = elaborate(spec).graph
    assert [str(value.shape[0]) for value in graph.inputs] == ["N"] * len(graph.inputs)
    bundle = lamina.compile(spec, tmp_path / "bundle", targets=["tensorrt"])
    manifest = read_manifest(bundle)
    assert manifest.dims["N"].min < manifest.dims["N"].max
    (engine,) = (bundle / "engines").iterdir()
    assert engine.stat().st_size > 4 * parameter_count(graph)
    assert not list(bundle.glob("*.bin"))
    assert not list(bundle.glob("*.onnx"))
    target = manifest.targets.tensorrt
    assert target is not None
    record(path, variant, "tensorrt", f"builds whole with {target.library} {target.version}")
