"""Engines come out for what the library takes, the same each time, and a second build is read from the cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from tensorrt_models import attention, external, mlp, save

from lamina.compiler.missing import MissingDependency
from lamina.compiler.targets.tensorrt import Engine, EngineError, build, find, library, process
from lamina.compiler.targets.tensorrt.model import Model
from lamina.schema.dims import Dim, Symbol

RTX = find("tensorrt_rtx")
BATCH = {"N": (1, 8, 64)}


def build_mlp(model: Path, cache: Path, **options: object) -> Engine:
    return build(model, [("x", "float32", ["N", 8])], BATCH, cache=cache, **options)  # type: ignore[arg-type]


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to start the worker fails, as the cache must serve."""
    monkeypatch.setattr(process, "WORKER", Path("absent.py"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return mlp(tmp_path / "model.onnx")


def test_dynamic_batch_builds(model: Path, tmp_path: Path) -> None:
    seen: list[tuple[float, str]] = []
    engine = build_mlp(model, tmp_path / "cache", progress=lambda share, phase: seen.append((share, phase)))
    assert engine.library == RTX
    assert not engine.cached
    assert engine.path.stat().st_size > 1000
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert "Building engine" in {phase for _, phase in seen}


def test_second_build_starts_no_worker(model: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    first = build_mlp(model, tmp_path / "cache")
    request.getfixturevalue("no_worker")
    second = build_mlp(model, tmp_path / "cache")
    assert (second.path, second.key, second.cached) == (first.path, first.key, True)


def test_builds_are_reproducible(model: Path, tmp_path: Path) -> None:
    first, second = (build_mlp(model, tmp_path / name) for name in ("one", "two"))
    assert not second.cached
    assert first.key == second.key
    assert first.path.read_bytes() == second.path.read_bytes()


@pytest.mark.parametrize("damage", [b"", b"not an engine"])
def test_damaged_entry_is_rebuilt(model: Path, tmp_path: Path, damage: bytes) -> None:
    engine = build_mlp(model, tmp_path / "cache")
    whole = engine.path.read_bytes()
    engine.path.write_bytes(damage)
    again = build_mlp(model, tmp_path / "cache")
    assert not again.cached
    assert again.path.read_bytes() == whole


def test_key_covers_all_that_changes_the_engine(model: Path, tmp_path: Path) -> None:
    cache, other = tmp_path / "cache", mlp(tmp_path / "other.onnx", seed=1)
    x = [("x", "float32", ["N", 8])]
    engines = [
        build_mlp(model, cache),
        build_mlp(other, cache),
        build(model, x, {"N": (1, 8, 32)}, cache=cache),
        build_mlp(model, cache, compute_capabilities=["8.6"]),
    ]
    assert len({engine.key for engine in engines}) == 4
    assert len({engine.path.read_bytes() for engine in engines[:2]}) == 2


def test_key_leaves_out_where_nodes_came_from(model: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Moving a step to another line of the spec is no reason to build again."""
    first = build_mlp(model, tmp_path / "cache")
    noted = onnx.load(model)
    noted.graph.node[0].metadata_props.add(key="lamina.source", value="other.yaml:99:1")
    onnx.save(noted, model)
    request.getfixturevalue("no_worker")
    assert build_mlp(model, tmp_path / "cache").key == first.key


def test_key_leaves_out_where_nodes_in_loops_came_from(tmp_path: Path) -> None:
    def looped(line: int) -> str:
        step = helper.make_node("Neg", ["s"], ["z"], name="z")
        step.metadata_props.add(key="lamina.source", value=f"spec.yaml:{line}:1")
        ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "sz"]
        scan = helper.make_node(
            "Scan", ["x"], ["y"], name="y", num_scan_inputs=1, body=helper.make_graph([step], "b", ports[:1], ports[1:])
        )
        model = save(tmp_path / "model.onnx", [scan], [("x", TensorProto.FLOAT, ["N", 4])], [("y", TensorProto.FLOAT, ["N", 4])])
        return Model(model).fingerprint()

    assert looped(3) == looped(99)


def test_every_layer_says_which_node_it_is_of(tmp_path: Path) -> None:
    """Those too that the parser adds of its own: for weights, to broadcast, to convert."""
    engine = build_mlp(mlp(tmp_path / "model.onnx"), tmp_path / "cache")
    said = set(re.findall(rb"\[ONNX Layer: (.*?)\]", engine.path.read_bytes()))
    assert said == {b"body/fc1/MatMul", b"body/act/Relu", b"body/fc2/MatMul"}


def test_key_covers_external_weights(tmp_path: Path) -> None:
    model, weights, cache = external(tmp_path / "model.onnx", 4), tmp_path / "weights.bin", tmp_path / "cache"
    x = [("x", "float32", ["N", 4])]
    engines = []
    for fill in (b"\0\0\x80\x3f", b"\0\0\0\x40"):  # ones, then twos
        weights.write_bytes(fill * 20)
        engines.append(build(model, x, BATCH, cache=cache))
    assert engines[0].key != engines[1].key
    assert engines[0].path.read_bytes() != engines[1].path.read_bytes()


def test_model_without_weights(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^model\.onnx has no weights, and an engine is built around them$"):
        build(external(tmp_path / "model.onnx", 4), [("x", "float32", ["N", 4])], BATCH, cache=tmp_path / "cache")


def test_weights_outside_the_folder_are_refused(tmp_path: Path) -> None:
    model = external(tmp_path / "model.onnx", 4)
    model.write_bytes(model.read_bytes().replace(b"weights.bin", b"../passwds."))
    with pytest.raises(EngineError, match=r"names the weight file `\.\./passwds\.`, which is outside its folder"):
        build(model, [("x", "float32", ["N", 4])], BATCH, cache=tmp_path / "cache")


def test_float32_attention_builds(tmp_path: Path) -> None:
    dims = {"N": (1, 2, 4), "S": (1, 8, 16)}
    inputs = [(name, "float32", ("N", 2, "S", 16)) for name in "qkv"]
    assert build(attention(tmp_path / "model.onnx"), inputs, dims, cache=tmp_path / "cache").path.stat().st_size > 1000


def test_profile_evaluates_symbolic_sizes() -> None:
    from lamina.compiler.targets.tensorrt.build import profile

    n = Dim.of(Symbol("N", 1, 8, 32))
    shapes = profile([("x", "float32", [n, 2 * n + 1, 40 - n, "T"]), ("fixed", "float32", [3])], {"N": (1, 8, 32), "T": (2, 4, 6)})
    assert shapes == {"x": [[1, 3, 8, 2], [8, 17, 32, 4], [32, 65, 39, 6]]}


def test_unknown_compute_capability(model: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=rf"^TensorRT-RTX {RTX.version} builds for compute capabilities 7\.5, 8\.0, 8\.6, .*only$"):
        build_mlp(model, tmp_path / "cache", compute_capabilities=["3.5"])


def test_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "NAMES", ("no_such_tensorrt",))
    with pytest.raises(MissingDependency) as caught:
        find()
    wanted = 'the `tensorrt` target needs TensorRT-RTX (or TensorRT), which is not installed\n  = help: pip install "lamina[tensorrt]"'
    assert str(caught.value) == wanted


def test_find_imports_nothing() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from lamina.compiler.targets.tensorrt import find; find(); print({'tensorrt_rtx', 'onnx', 'torch'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


def test_default_cache_folder(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "chosen"))
    engine = build(model, [("x", "float32", ["N", 8])], BATCH)
    assert engine.path == tmp_path / "chosen" / f"{engine.key}.engine"
    assert sorted(f.suffix for f in engine.path.parent.iterdir()) == [".engine", ".sha256"]


def test_unwritable_cache(model: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(EngineError, match=r"cannot write to the engine cache .*set LAMINA_CACHE"):
        build_mlp(model, blocked / "cache")


def test_cache_lets_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lamina.compiler.targets.tensorrt import cache

    monkeypatch.setattr(cache, "CAPACITY", 25)
    store = cache.EngineCache(tmp_path)
    for age, key in ((30, "a"), (20, "b"), (10, "c")):
        with store.writing() as part:
            part.write_bytes(b"x" * 10)
            os.utime(part, (10**9 - age, 10**9 - age))
            store.keep(key, part)
    assert [key for key in "abc" if store.find(key)] == ["b", "c"]
