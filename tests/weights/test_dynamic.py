"""Linear layers that round what they multiply as a whole, against NumPy and against ONNX Runtime's own quantiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import save_file

import lamina
from lamina.runtime import Session
from lamina.verify import verify

Array = np.ndarray[Any, np.dtype[Any]]
LAYER = 'lamina: 1\nmodel: m\ninputs: {x: "float32[%s64]"}\n%sbody: [{linear: 96, name: fc}]\noutputs: {y: "float32[%s96]"}\n'
ROWS = "dims: {N: {min: 0, opt: 4, max: 64}}\n"


def weights(folder: Path) -> tuple[Path, Array, Array]:
    rng = np.random.default_rng(3)
    weight, bias = rng.standard_normal((96, 64), np.float32) * np.logspace(-2, 1, 96, dtype=np.float32)[:, None], rng.standard_normal(96)
    weight[5] = 0
    save_file({"fc.weight": weight, "fc.bias": bias.astype(np.float32)}, folder / "w.safetensors")
    return folder / "w.safetensors", weight, bias


def rounded(x: Array, weight: Array, bias: Array) -> Array:
    """By the definition of DynamicQuantizeLinear, and rows of the weight around 0 in steps of a 127th of their largest number."""
    low, high = min(float(x.min()), 0), max(float(x.max()), 0)
    step = (high - low) / 255
    whole = (np.clip(np.rint(x / step) + np.rint(-low / step), 0, 255) - np.rint(-low / step)) * step
    steps = np.maximum(np.abs(weight).max(1, keepdims=True) / 127, 1e-30)
    return whole @ (np.rint(weight / steps) * steps).T.astype(np.float64) + bias


@pytest.mark.parametrize(("sizes", "shape"), [("N, ", (5, 64)), ("N, 3, ", (2, 3, 64)), ("", (64,))])
def test_what_is_rounded(sizes: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(LAYER % (sizes, ROWS if sizes else "", sizes))
    file, weight, bias = weights(tmp_path)
    folder = lamina.compile(lamina.load(tmp_path / "m.yaml"), tmp_path / "b", ["onnxruntime"], file, precision="int8-dynamic")
    x = 3 * np.random.default_rng(4).standard_normal(shape, np.float32) + 1
    got = Session(folder)(x=x)["y"]
    want = rounded(x, weight, bias)
    assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()
    assert np.abs(want - (x @ weight.T + bias)).max() > 1e-3 * np.abs(want).max()
    if sizes:
        assert Session(folder)(x=x[:0])["y"].shape == (0, *shape[1:-1], 96)


SHARED = """
lamina: 1
model: m
use: [ffn]
inputs: {ids: "int64[T]"}
dims: {T: {min: 1, opt: 8, max: 64}}
body:
  - table = parameter([96, 64], init='normal(0.5)', name='table')
  - h = embedding(ids, weight=table)
  - weight, choice = top_k(softmax(linear(h, 4, name='router'), dim=-1), 2)
  - m = moe(h, weight, choice, mlp(hidden=96), 4, name='experts')
  - modules: {recur: {linear: {out: 64, bias: false}}}
  - scan: {over: 0, values: {h_t: "m[:, None]"}, carry: {s: "zeros([1, 64])"}, do: [s = tanh(recur(s) + h_t)], collect: {states: s}}
  - linear(squeeze(states, 1), weight=table, bias=False)
outputs: {y: "float32[T, 96]"}
"""


def test_tables_experts_and_loops(tmp_path: Path) -> None:
    """Experts that no token chooses are handed no rows."""
    (tmp_path / "m.yaml").write_text(SHARED)
    folder = lamina.compile(lamina.load(tmp_path / "m.yaml"), tmp_path / "b", ["onnxruntime"], precision="int8-dynamic")
    report = verify(folder)
    assert report.passed
    assert all(c.rounding for c in report.comparisons)


def test_it_is_what_onnx_runtime_s_quantiser_makes(tmp_path: Path) -> None:
    """Of a transformer's layers, per channel: the same error to within a third. Small matrices stay."""
    spec = lamina.load("specs/vision/vit.yaml", small=True)
    folder = lamina.compile(spec, tmp_path / "b", ["onnx", "onnxruntime"], precision="int8-dynamic")
    quantize_dynamic(folder / "model.onnx", tmp_path / "q.onnx", ["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8)
    image = np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32)
    theirs = onnxruntime.InferenceSession(tmp_path / "q.onnx", providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]
    plain = Session(folder, backend="onnx")(image=image)["logits"]
    ours = Session(folder)(image=image)["logits"]
    error, peer = (float(np.square(y - plain).mean() / np.square(plain).mean()) ** 0.5 for y in (ours, theirs))
    assert 1e-4 < error < 4 / 3 * peer
    kinds = [node.op_type for node in onnx.load(folder / "model.ort.onnx", load_external_data=False).graph.node]
    assert kinds.count("MatMulInteger") == 6  # of both layers what makes queries, keys and values, and both of the feed-forward part
