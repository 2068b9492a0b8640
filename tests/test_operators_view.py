"""`show --target`: every operator, the step and line it comes from, and the op and fast path that made it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamina.compiler.elaborate import elaborate
from lamina.compiler.load import load_spec
from lamina.compiler.views import operators_view

SPEC = """lamina: 1
model: toy
inputs: {x: "float32[N, 2, 8, 8]", i: "int64[N]"}
dims: {N: {min: 1, opt: 2, max: 4}}
body:
  - conv: {out: 4, kernel: 1, bias: false, name: stem}
  - batch_norm
  - attention(x, x, x)
  - mean: {dims: [1, 2, 3]}
  - segment_sum(x, i, 3)
outputs: {y: "float32[3]"}
"""
MEAN = [("mean", "ReduceMean", 9, "mean")]
ATTENTION = [("attention", op, 8, "attention") for op in ("Mul", "Transpose", "MatMul", "Softmax", "MatMul")]
SCATTERED = [("segment_sum", "ScatterElements", 10, "segment_sum.by_column")]
STEM = [("stem", "Conv", 6, "conv")]
# The batch norm is in the convolution's weights, except in PyTorch, where it is trained.
WANTED = {
    "onnx": [*STEM, *ATTENTION, *MEAN, *SCATTERED],
    "onnxruntime": [
        *STEM,
        ("attention", "Attention", 8, "attention.operator"),
        *MEAN,
        *SCATTERED,
    ],
    "tensorrt": [
        *STEM,
        *ATTENTION,
        *MEAN,
        *(("segment_sum", op, 10, "segment_sum.as_product") for op in ("Equal", "Reshape", "Cast", "MatMul", "Reshape")),
    ],
    "torch": [
        *STEM,
        ("batch_norm", "BatchNormalization", 7, "batch_norm"),
        ("attention", "torch.nn.functional.scaled_dot_product_attention", 8, "attention.functional"),
        *MEAN,
        *(("segment_sum", op, 10, "segment_sum") for op in ("Expand", "Unsqueeze", "ScatterND")),
    ],
}


@pytest.mark.parametrize("target", WANTED)
def test_operators(target: str, tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(SPEC)
    view = operators_view("toy", elaborate(load_spec(path)), target)
    rows = json.loads(view.render("json"))["rows"]
    assert [(r["path"], r["op"], r["span"]["line"], r["form"]) for r in rows] == WANTED[target]
    table = view.render("table").splitlines()
    assert table[-1] == f"toy for {target}: {len(rows)} ops, 16 parameters"
    for line, (step, op, number, form) in zip(table[2:], WANTED[target], strict=False):
        assert line.split()[:2] == [step, op]
        assert line.endswith(f"{form}, toy.yaml:{number}")
