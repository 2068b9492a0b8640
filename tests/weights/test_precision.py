"""Linear layers in blocks: what a checkpoint holds is repacked bit by bit, the rest is rounded to the nearest code. The peer is gguf."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import onnx
import pytest
from gguf_files import random_blocks, write_gguf
from safetensors.numpy import save_file

import lamina
from lamina.runtime import Session
from lamina.schema.diagnostics import SpecError
from lamina.verify import verify

Array = np.ndarray[Any, np.dtype[Any]]
SPEC = """
lamina: 1
model: layers
inputs: {ids: "int64[N, T]", x: "float32[N, T, 64]"}
dims: {N: {min: 1, opt: 2, max: 8}, T: {min: 1, opt: 4, max: 64}}
body:
  - table = parameter([96, 64], init='normal(0.5)', name='table')
  - h = x + embedding(ids, weight=table)
  - a = linear(h, 96, bias=False, name='a')
  - b = linear(h, 32, bias=False, name='b')
  - c = linear(h, 64, name='c')
  - y = 1.5 * concat([a, b, c], dim=2)
  - x = linear(c, weight=table, bias=False)
outputs: {y: "float32[N, T, 192]", logits: "float32[N, T, 96]"}
"""
SHAPES = {"a.weight": (96, 64), "b.weight": (32, 64), "c.weight": (64, 64), "table": (96, 64)}
KINDS = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]


@pytest.fixture
def spec(tmp_path: Path) -> Any:
    (tmp_path / "layers.yaml").write_text(SPEC.replace("  - x = linear(c,", "  - logits = linear(c,"))
    return lamina.load(tmp_path / "layers.yaml")


def numbers(raw: dict[str, Array], kind: str) -> dict[str, Array]:
    return {name: gguf.dequantize(blocks, gguf.GGMLQuantizationType[kind]).astype(np.float64) for name, blocks in raw.items()}


def expected(weights: dict[str, Array], bias: Array, ids: Array, x: Array) -> dict[str, Array]:
    h = x + weights["table"][ids]
    c = h @ weights["c.weight"].T + bias
    return {"y": 1.5 * np.concatenate([h @ weights["a.weight"].T, h @ weights["b.weight"].T, c], axis=2), "logits": c @ weights["table"].T}


def error(got: Array, want: Array) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.fixture(params=["", "avx2", "none"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The library's kernels of each kind that this processor has, and ONNX Runtime's own, in whose terms they are defined."""
    monkeypatch.setenv("LAMINA_INSTRUCTIONS", request.param)
    return str(request.param)


def kinds_of(folder: Path) -> list[str]:
    return [node.op_type for node in onnx.load(folder / "model.ort.onnx", load_external_data=False).graph.node]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_checkpoint_holds_is_repacked(kind: str, spec: Any, tmp_path: Path, kernels: str) -> None:
    """With inputs that 8 bits hold, and no sums to round, the kernel gives the numbers that gguf dequantises."""
    raw = {name: random_blocks(kind, shape, seed) for seed, (name, shape) in enumerate(SHAPES.items())}
    bias = np.zeros(64, np.float32)
    file = write_gguf(tmp_path / "w.gguf", {**{name: (blocks, kind) for name, blocks in raw.items()}, "c.bias": bias})
    session = Session(lamina.compile(spec, tmp_path / "bundle", ["onnxruntime"], weights=file, precision="int4"))
    weights = numbers(raw, kind)
    ids = np.zeros((1, 64), np.int64)
    columns = np.eye(64, dtype=np.float32)[None] - weights["table"][0].astype(np.float32)
    got = session(ids=ids, x=columns)["y"]  # one column of every matrix a step
    want = expected(weights, bias, ids, columns.astype(np.float64))["y"]
    assert error(got, want) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_of_inputs(kind: str, spec: Any, tmp_path: Path, kernels: str) -> None:
    """Inner layers round what they multiply to 8 bits; what is an output of the model does not."""
    raw = {name: random_blocks(kind, shape, seed) for seed, (name, shape) in enumerate(SHAPES.items())}
    bias = np.random.default_rng(5).standard_normal(64).astype(np.float32)
    file = write_gguf(tmp_path / "w.gguf", {**{name: (blocks, kind) for name, blocks in raw.items()}, "c.bias": bias})
    folder = lamina.compile(spec, tmp_path / "bundle", ["onnxruntime"], weights=file, precision="int4")
    rng = np.random.default_rng(6)
    ids, x = rng.integers(0, 96, (2, 5)), rng.standard_normal((2, 5, 64), np.float32)
    weights = numbers(raw, kind)
    got, want = Session(folder)(ids=ids, x=x), expected(weights, bias, ids, x.astype(np.float64))
    assert 1e-4 < error(got["y"], want["y"]) < 2e-2
    assert error(got["logits"], got["y"][..., -64:].astype(np.float64) / 1.5 @ weights["table"].T) < 5e-4
    assert kinds_of(folder).count("BlockMatMul") == 3  # a and b are one, c has a bias, and the table
    assert "Gather" in kinds_of(folder)
    assert verify(folder, weights=file).passed


@pytest.mark.parametrize(("precision", "codes"), [("int8", 254), ("int4", 15)])
def test_numbers_are_rounded_to_the_nearest_code(precision: str, codes: int, tmp_path: Path) -> None:
    """At most half a step away: a step is the range of a group, with 8 bits to both sides of 0, over the number of steps."""
    text = 'lamina: 1\nmodel: m\ninputs: {x: "float32[64, 64]"}\nbody: [{linear: 96, name: fc}]\noutputs: {y: "float32[64, 96]"}\n'
    (tmp_path / "m.yaml").write_text(text)
    rng = np.random.default_rng(7)
    weight = (rng.standard_normal((96, 64)) + rng.standard_normal((96, 1))).astype(np.float32)
    weight[3] = 0
    save_file({"fc.weight": weight, "fc.bias": np.zeros(96, np.float32)}, tmp_path / "w.safetensors")
    spec = lamina.load(tmp_path / "m.yaml")
    folder = lamina.compile(spec, tmp_path / "bundle", ["onnxruntime"], weights=tmp_path / "w.safetensors", precision=precision)
    got = Session(folder)(x=np.eye(64, dtype=np.float32))["y"].T
    groups = weight.reshape(96, 2, 32)
    low, high = groups.min(2), groups.max(2)
    steps = (high - low) / codes if precision == "int4" else 2 * np.maximum(-low, high) / codes
    away = np.abs(got - weight).reshape(96, 2, 32) / np.maximum(steps, 1e-9)[..., None]
    assert away.max() < 0.52  # scales and minima are rounded too, to float16
    assert away.mean() > 0.15
    report = verify(folder, weights=tmp_path / "w.safetensors")
    assert report.passed
    assert all(c.rounding is not None and 1e-4 < c.rounding < 0.3 for c in report.comparisons)


def test_what_gains_nothing_stays(tmp_path: Path) -> None:
    """Rows that groups do not divide, and small matrices."""
    text = 'lamina: 1\nmodel: m\ninputs: {x: "float32[4, 40]"}\nbody: [linear: 100, linear: 32, linear: 8]\noutputs: {y: "float32[4, 8]"}\n'
    (tmp_path / "m.yaml").write_text(text)
    folder = lamina.compile(lamina.load(tmp_path / "m.yaml"), tmp_path / "bundle", ["onnxruntime"], precision="int4")
    assert "BlockMatMul" not in kinds_of(folder)


def test_without_weights_blocks_have_their_shapes(spec: Any, tmp_path: Path) -> None:
    folder = lamina.compile(spec, tmp_path / "bundle", ["onnxruntime"], weights="none", precision="int4")
    shapes = {i.name: tuple(i.dims) for i in onnx.load(folder / "model.ort.onnx", load_external_data=False).graph.initializer}
    assert shapes["table.codes"] == (96, 2, 16)
    assert shapes["table.minima"] == (96, 2)


def test_an_unknown_precision(spec: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="unknown precision 'int3'; precisions are float32, int8, int4, int8-dynamic, int8-static, float16, bfloat16"
    ):
        lamina.compile(spec, tmp_path / "bundle", precision="int3")


def test_a_precision_without_its_target(spec: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the precision int4 is one of the target onnxruntime, which is not among onnx, torch"):
        lamina.compile(spec, tmp_path / "bundle", targets=["onnx", "torch"], precision="int4")


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K", "Q6_K"])
def test_scales_that_float16_does_not_hold(kind: str, tmp_path: Path, kernels: str) -> None:
    """They are products in these formats: such blocks stay with ONNX Runtime's kernel, and are repacked bit by bit too."""
    inputs, outputs = '{x: "float32[256, 256]"}', '{y: "float32[256, 24]"}'
    body = "[{linear: {out: 24, bias: false}, name: fc}]"
    (tmp_path / "m.yaml").write_text(f"lamina: 1\nmodel: m\ninputs: {inputs}\nbody: {body}\noutputs: {outputs}\n")
    raw = random_blocks(kind, (24, 256), 3)
    file = write_gguf(tmp_path / "w.gguf", {"fc.weight": (raw, kind)})
    folder = lamina.compile(lamina.load(tmp_path / "m.yaml"), tmp_path / "bundle", ["onnxruntime"], weights=file, precision="int4")
    assert "MatMulNBits" in kinds_of(folder)
    got = Session(folder)(x=np.eye(256, dtype=np.float32))["y"].T
    assert error(got, numbers({"fc": raw}, kind)["fc"]) < 1e-6
    assert verify(folder, weights=file).passed


RULES = """
precision:
  a.weight: int8
  "[bc].*": float32
"""


def test_the_spec_says_what_some_weights_are_kept_in(spec: Any, tmp_path: Path) -> None:
    """The first pattern that matches counts, and `--precision` for what none does. Targets in float32 hold the numbers as they are."""
    (tmp_path / "ruled.yaml").write_text(spec.path.read_text() + RULES + '  "*": float32\n')
    ruled = lamina.load(tmp_path / "ruled.yaml")
    folder = lamina.compile(ruled, tmp_path / "bundle", precision="int4")
    initializers = {i.name: i for i in onnx.load(folder / "model.ort.onnx", load_external_data=False).graph.initializer}
    assert [name for name in initializers if name.endswith(".codes")] == ["a.weight.codes"]
    assert tuple(initializers["a.weight.codes"].dims) == (96, 2, 32)
    built = lamina.Session(folder).manifest.targets.onnxruntime
    assert (built.precision, dict(built.precisions)) == ("int4", {"a.weight": "int8", "[bc].*": "float32", "*": "float32"})
    report = verify(folder)
    assert report.passed
    assert {c.target: c.rounding is not None for c in report.comparisons} == {"onnx": False, "onnxruntime": True}


@pytest.mark.parametrize(("precision", "kept"), [("float32", {"a.weight"}), ("int4", {"a.weight", "table"})])
def test_what_no_pattern_matches_is_the_option_s(precision: Any, kept: set[str], spec: Any, tmp_path: Path) -> None:
    (tmp_path / "ruled.yaml").write_text(spec.path.read_text() + RULES)
    folder = lamina.compile(lamina.load(tmp_path / "ruled.yaml"), tmp_path / "bundle", ["onnxruntime"], precision=precision)
    names = [i.name for i in onnx.load(folder / "model.ort.onnx", load_external_data=False).graph.initializer]
    assert {name.removesuffix(".codes") for name in names if name.endswith(".codes")} == kept
    assert verify(folder).passed


LOOPS = """
lamina: 1
model: loops
inputs: {x: "float32[N, T, 64]"}
dims: {N: {min: 1, opt: 2, max: 8}, T: {min: 1, opt: 16, max: 64}}
body:
  - u = linear(x, 64)
  - modules: {recur: {linear: {out: 64, bias: false}}}
  - scan: {over: 1, values: {u_t: u}, carry: {h: "zeros([shape(x)[0], 64])"}, do: [h = tanh(recur(h) + u_t)], collect: {states: h}}
  - iterate: {carry: {z: zeros_like(u)}, do: ["z = tanh(0.1 * recur(z) + u)"], until: 1e-5, at_most: 50}
  - states * z
outputs: {y: "float32[N, T, 64]"}
precision: {"*": int4}
"""


def test_loops_share_blocks(tmp_path: Path, kernels: str) -> None:
    (tmp_path / "loops.yaml").write_text(LOOPS)
    folder = lamina.compile(lamina.load(tmp_path / "loops.yaml"), tmp_path / "bundle")
    onnx.checker.check_model(folder / "model.ort.onnx")
    assert verify(folder).passed


def test_numbers_that_no_float16_scale_reaches(tmp_path: Path) -> None:
    inputs, outputs = '{x: "float32[64, 64]"}', '{y: "float32[64, 96]"}'
    (tmp_path / "m.yaml").write_text(f"lamina: 1\nmodel: m\ninputs: {inputs}\nbody: [{{linear: 96, name: fc}}]\noutputs: {outputs}\n")
    weight = np.zeros((96, 64), np.float32)
    weight[5, 7] = -1e6
    save_file({"fc.weight": weight, "fc.bias": np.zeros(96, np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(SpecError, match=r"`fc\.weight` holds numbers beyond 65504"):
        lamina.compile(lamina.load(tmp_path / "m.yaml"), tmp_path / "b", ["onnxruntime"], tmp_path / "w.safetensors", precision="int4")


EXPERTS = """\
lamina: 1
model: experts
use: [ffn]
inputs: {x: "float32[T, 64]"}
dims: {T: {min: 1, opt: 16, max: 64}}
body:
  - weight, choice = top_k(softmax(linear(x, 4, name='router'), dim=-1), 2)
  - moe(x, weight, choice, mlp(hidden=96), 4, name='experts')
outputs: {y: "float32[T, 64]"}
precision: {"experts.*": int4, "*": float32}
"""


def test_experts_have_blocks(tmp_path: Path, kernels: str) -> None:
    """Those that no token chooses are handed no rows."""
    (tmp_path / "experts.yaml").write_text(EXPERTS)
    folder = lamina.compile(lamina.load(tmp_path / "experts.yaml"), tmp_path / "bundle", ["onnxruntime"])
    assert kinds_of(folder).count("BlockMatMul") == 8
    assert verify(folder).passed
