"""Any block is an expert: each kind in its sparse form, against the definition, at sizes where some experts get no token."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import lamina
from lamina.verify import verify

HEAD = """\
lamina: 1
model: experts
use: [ffn]
inputs: {x: "float32[N, T, 16]"}
dims: {N: {min: 1, opt: 2, max: 8}, T: {min: 1, opt: 8, max: 64}}
"""
ROUTED = """\
body:
  - w, c = top_k(softmax(linear(x, 4, name='router'), dim=-1), 2)
  - y = moe(x, w, c, expert, 4, name='experts')
"""
KINDS = {
    "vectors_and_numbers_of_its_own": """
blocks:
  expert:
    body:
      - layer_norm
      - gate, up = split(linear(x, 40), [20, 20], dim=-1)
      - y = silu(gate * parameter([], init='normal(1)', name='scale')) * (up + parameter([20], init='normal(1)', name='shift'))
      - rms_norm(linear(y, 16)) * exp(parameter([16], init='normal(0.3)', name='gain'))
body:
  - w, c = top_k(softmax(linear(x, 4, name='router'), dim=-1), 2)
  - y = moe(x, w, where(w > 0.3, c, -1), expert(), 4, name='experts')
""",
    "steps": """
body:
  - w, c = top_k(softmax(linear(x, 4, name='router'), dim=-1), 2)
  - moe: {weight: w, choice: c, expert: ["x @ parameter([16, 16], init='normal(0.2)', name='m')", gelu, linear: 16], count: 4}
  - y = x
""",
    "what_stands_around": """
body:
  - scale = parameter([16], init='ones', name='scale')
  - w, c = top_k(softmax(linear(x, 4, name='router'), dim=-1), 2)
  - moe: {weight: w, choice: c, expert: ["x * scale", linear: 16, "x * exp(scale)"], count: 4}
  - y = x
""",
    "a_shared_module": """
modules: {shared: {linear: 16}}
blocks:
  expert:
    args: {first: block}
    body: [first, gelu, linear: 16]
body:
  - w, c = top_k(softmax(linear(x, 4, name='router'), dim=-1), 2)
  - y = moe(x, w, c, expert(shared), 4) + shared(x)
""",
    "another_width": """
body:
  - w, c = top_k(softmax(linear(x, 4, name='router'), dim=-1), 2)
  - moe: {weight: w, choice: "cast(c, 'int32')", expert: [linear: 24], count: 4}
  - y = linear(x, 16)
""",
    "experts_of_experts": """
blocks:
  expert:
    body:
      - w, c = top_k(softmax(linear(x, 3, name='router'), dim=-1), 1)
      - moe(x, w, c, mlp(hidden=8), 3)
"""
    + ROUTED,
    "attention": """
blocks:
  expert:
    body:
      - q, k, v = [reshape(linear(x, 16, name=n), [-1, 2, 4, 2]) for n in ['q', 'k', 'v']]
      - reshape(attention(q, k, v), [-1, 16])
"""
    + ROUTED,
    "convolution": """
blocks:
  expert:
    body:
      - reshape(x, [-1, 4, 4])
      - {conv: {out: 4, kernel: 3, padding: 1}, name: c}
      - reshape(x, [-1, 16])
"""
    + ROUTED,
    "a_loop": """
blocks:
  expert:
    body:
      - parts = reshape(x, [-1, 4, 4])
      - scan:
          over: 1
          values: {u: parts}
          carry: {h: "zeros([shape(x)[0], 4])"}
          do: ["h = tanh(linear(u, 4, name='i') + linear(h, 4, name='h'))"]
          collect: {hs: h}
      - reshape(hs, [-1, 16])
"""
    + ROUTED,
    "no_products": """
blocks:
  expert:
    body:
      - waves = x[:, :, None] * parameter([16, 5], init='normal(0.3)', name='k')
      - sum(sin(waves), dims=-1) + cos(x)
"""
    + ROUTED,
    "inside_a_loop": """
body:
  - scan:
      over: 1
      values: {u: x}
      carry: {h: "zeros([shape(x)[0], 16])"}
      do:
        - w, c = top_k(softmax(linear(u + h, 4, name='router'), dim=-1), 2)
        - h = tanh(moe(u + h, w, c, mlp(hidden=8), 4))
      collect: {y: h}
""",
}


def bundle(kind: str, folder: Path, *targets: str) -> Path:
    (folder / "experts.yaml").write_text(f'{HEAD}{KINDS[kind].lstrip()}outputs: {{y: "float32[N, T, 16]"}}\n')
    return lamina.compile(lamina.load(folder / "experts.yaml"), folder / "bundle", targets)


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_is_an_expert(kind: str, tmp_path: Path) -> None:
    report = verify(bundle(kind, tmp_path, "onnx", "onnxruntime"))
    assert report.passed, report


@pytest.mark.parametrize("instructions", ["", "avx2", "none"])
@pytest.mark.parametrize("kind", ["steps", "what_stands_around", "vectors_and_numbers_of_its_own"])
def test_rows_of_all_experts_are_multiplied_at_once(kind: str, instructions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By our own kernel, and where it is missing by what defines it."""
    monkeypatch.setenv("LAMINA_INSTRUCTIONS", instructions)
    made = bundle(kind, tmp_path, "onnxruntime")
    operators = [node.op_type for node in onnx.load(made / "model.ort.onnx", load_external_data=False).graph.node]
    assert "GroupedMatMul" in operators
    report = verify(made)
    assert report.passed, report


@pytest.mark.sweep
@pytest.mark.parametrize("kind", KINDS)
def test_in_every_other_target(kind: str, tmp_path: Path) -> None:
    report = verify(bundle(kind, tmp_path, "torch", "tensorrt"))
    assert report.passed, report
