"""What TensorRT's network of sparse experts multiplies: as much as tokens choose, whatever the number of experts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import numpy_helper

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.lower import lower
from lamina.compiler.summary import summarize
from lamina.compiler.targets.onnx import to_onnx
from lamina.compiler.weights.derived import tensor_of
from lamina.compiler.weights.seeded import Seeded

trt = pytest.importorskip("tensorrt_rtx")
SPEC = """\
lamina: 1
model: experts
use: [ffn]
config: {{experts: 32}}
inputs: {{x: "float32[{tokens}, 32]"}}
dims: {dims}
body:
  - weight, choice = top_k(softmax(linear(x, experts, bias=False, name='router'), dim=-1), 2)
  - {step}
outputs: {{y: "float32[{tokens}, 32]"}}
"""
MLP = "moe(x, weight, choice, mlp(hidden=64, bias=False), experts)"
KINDS = {  # blocks whose operators have forms for many tiles at once, and one that has not
    "mlp": MLP,
    "biased": "moe(x, weight, choice, mlp(hidden=48, act=silu), experts)",
    "norms": "moe: {weight: weight, choice: choice, expert: [layer_norm, linear: 24, rms_norm, softmax: {dim: 1}, linear: 32], count: 5}",
    "one_by_one": "moe: {weight: weight, choice: choice, expert: [{linear: 32}, cumsum: {dim: 1}], count: experts}",
    "nobody": "moe(x, weight, where(choice == 3, -1, choice), mlp(hidden=48), experts)",
}


def model(folder: Path, step: str, tokens: str, **config: Any) -> tuple[Any, lamina.ModelSpec]:
    """The ONNX file that TensorRT is given, numbers and all."""
    dims = "{T: {min: 1, opt: 64, max: 512}}" if tokens == "T" else "{}"
    (folder / "experts.yaml").write_text(SPEC.format(step=step, tokens=tokens, dims=dims))
    spec = lamina.load(folder / "experts.yaml", **config)
    graph = lower(elaborate(spec).graph, "tensorrt")
    tensors = {v.name: tensor_of(v, Seeded(0)) for v in graph.initializers()}
    proto = to_onnx(graph, tensors, {})
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(t.numpy()), name) for name, t in tensors.items())
    return proto, spec


@pytest.mark.parametrize("experts", [8, 32, 128])
@pytest.mark.parametrize("tokens", [1, 16, 2048])
def test_the_network_multiplies_what_is_chosen(experts: int, tokens: int, tmp_path: Path) -> None:
    proto, spec = model(tmp_path, MLP, str(tokens), experts=experts)
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(proto.SerializeToString())
    products = [layer for layer in map(network.get_layer, range(network.num_layers)) if layer.type == trt.LayerType.MATRIX_MULTIPLY]
    router, *experts_, combination = [_macs(layer) for layer in products]
    assert router + sum(experts_) <= 1.5 * summarize(elaborate(spec)).macs
    assert combination == tokens * 2 * 32


def _macs(layer: Any) -> int:
    inner = layer.get_input(0).shape[-1]
    return math.prod(layer.get_output(0).shape) * int(inner)


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_compute_what_experts_do(kind: str, tmp_path: Path) -> None:
    """In ONNX Runtime, which runs the same file; the pieces of the target onnx are the other form."""
    proto, spec = model(tmp_path, KINDS[kind], "T", experts=5)
    tiles = ort.InferenceSession(proto.SerializeToString())
    assert any(node.op_type == "Scan" for node in proto.graph.node) == (kind == "one_by_one")
    pieces = ort.InferenceSession(str(lamina.compile(spec, tmp_path / "bundle", ["onnx"]) / "model.onnx"))
    for rows in (1, 2, 7, 64, 300):
        x = np.random.default_rng(rows).standard_normal((rows, 32)).astype(np.float32)
        np.testing.assert_allclose(tiles.run(None, {"x": x})[0], pieces.run(None, {"x": x})[0], atol=2e-6, err_msg=str(rows))
