"""Transposes before products in float16: ONNX Runtime opens the file, in a process of its own since it would crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import lamina

SPEC = """\
lamina: 1
model: turned
inputs: {{x: "{dtype}{shape}"}}
dims: {{B: {{min: 1, opt: 2, max: 4}}, T: {{min: 1, opt: 3, max: 8}}}}
body: [permute: {axes}, linear: {{out: 5, bias: false}}]
outputs: {{y: "{dtype}{made}"}}
"""
RUN = """
import sys, numpy, onnxruntime
x = numpy.load(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
numpy.save(sys.argv[3], session.run(None, {"x": x})[0])
"""


@pytest.mark.parametrize("target", ["onnx", "onnxruntime"])
@pytest.mark.parametrize(
    ("axes", "shape", "made"),
    [("[1, 0, 2]", "[T, B, 6]", "[B, T, 5]"), ("[1, 2, 0]", "[6, B, T]", "[B, T, 5]"), ("[1, 2, 0, 3]", "[T, B, 2, 6]", "[B, 2, T, 5]")],
)
def test_onnx_runtime_opens_it(axes: str, shape: str, made: str, target: str, tmp_path: Path) -> None:
    (tmp_path / "turned.yaml").write_text(SPEC.format(dtype="float16", axes=axes, shape=shape, made=made))
    bundle = lamina.compile(lamina.load(tmp_path / "turned.yaml"), tmp_path / "bundle", [target])
    (file,) = bundle.glob("*.onnx")
    x = np.random.default_rng(0).standard_normal([{"T": 3, "B": 2}.get(s, s) for s in _sizes(shape)]).astype(np.float16)
    np.save(tmp_path / "x.npy", x)
    subprocess.run([sys.executable, "-c", RUN, str(file), str(tmp_path / "x.npy"), str(tmp_path / "y.npy")], check=True, timeout=60)
    weight = next(iter(lamina.to_torch(lamina.load(tmp_path / "turned.yaml")).state_dict().values())).numpy().astype(np.float64)
    wanted = x.astype(np.float64).transpose([int(a) for a in axes.strip("[]").split(",")]) @ weight.T
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), wanted, atol=4e-3)


def test_float32_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "turned.yaml").write_text(SPEC.format(dtype="float32", axes="[1, 0, 2]", shape="[T, B, 6]", made="[B, T, 5]"))
    bundle = lamina.compile(lamina.load(tmp_path / "turned.yaml"), tmp_path / "bundle", ["onnx"])
    proto = onnx.load(bundle / "model.onnx", load_external_data=False)
    assert [node.op_type for node in proto.graph.node] == ["Transpose", "MatMul"]


def _sizes(shape: str) -> list[int | str]:
    return [int(size) if size.isdecimal() else size for size in shape.strip("[]").split(", ")]
