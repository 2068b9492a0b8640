"""Linear attention between transposes: they go where the kernel can do without them, and the numbers stay, with the library and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import lamina
from lamina.runtime import Session

SPEC = """
lamina: 1
model: mixer
use: [attention]
inputs: {x: "float32[N, T, 24]"}
dims: {N: {min: 1, opt: 1, max: 4}, T: {min: 1, opt: 40, max: 200}}
body:
  - h = linear(x, 120)
  - q, k, v, g = split(h, [24, 24, 48, 24], dim=2)
  - q, k, v = [split_heads(y, 4) for y in [q, k, v]]
  - g = split_heads(log_sigmoid(g), 4)
  - y, last = linear_attention(q, k, v, g)
  - BODY
outputs: {y: "float32[N, T, 48]", z: ANOTHER}
"""
TRANSPOSED = '"float32[N, 4, T, 12]"'
CASES = {
    "y is merged": ("y = merge_heads(y)\n  - z = x", '"float32[N, T, 24]"', 0),
    "a norm stands between": ("y = merge_heads(rms_norm(y))\n  - z = x", '"float32[N, T, 24]"', 0),
    "two norms do": ("y = merge_heads(layer_norm(rms_norm(y)))\n  - z = x", '"float32[N, T, 24]"', 0),
    "y is read twice": ("z = y\n  - y = merge_heads(y)", TRANSPOSED, 1),
    "so is what is normed": ("z = rms_norm(y)\n  - y = merge_heads(z)", TRANSPOSED, 1),
    "another op stands between": ("y = merge_heads(y + 1)\n  - z = x", '"float32[N, T, 24]"', 1),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("instructions", ["", "none"])
def test_transposes_go(case: str, instructions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_INSTRUCTIONS", instructions)
    body, another, left = CASES[case]
    (tmp_path / "mixer.yaml").write_text(SPEC.replace("BODY", body).replace("ANOTHER", another))
    folder = lamina.compile(lamina.load(tmp_path / "mixer.yaml"), tmp_path / "bundle", ["onnx", "onnxruntime"])
    kinds = [node.op_type for node in onnx.load(folder / "model.ort.onnx", load_external_data=False).graph.node]
    assert (kinds.count("LinearAttention"), kinds.count("Transpose")) == (1, left)
    x: Any = np.random.default_rng(0).standard_normal((2, 70, 24)).astype(np.float32)
    want, got = (Session(folder, backend=backend)(x=x) for backend in ("onnx", "onnxruntime"))
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=0, atol=2e-5 * np.abs(array).max())
