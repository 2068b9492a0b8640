"""Small ONNX models that the tests build, made with onnx's own helpers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Tensor = tuple[str, int, Sequence[int | str] | None]


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    weights: Sequence[onnx.TensorProto] = (),
) -> Path:
    """Write a model of opset 24 and return its path."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info(*o) for o in outputs],
        list(weights),
    )
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("com.microsoft", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=11).SerializeToString())
    return path


def mlp(path: Path, seed: int = 0) -> Path:
    """float32[N, 8] -> float32[N, 4]: two matmuls with a Relu between; `N` is dynamic."""
    draw = np.random.default_rng(seed).standard_normal
    weights = [numpy_helper.from_array(draw(shape).astype(np.float32), name) for name, shape in (("a", (8, 16)), ("b", (16, 4)))]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], name="body/fc1/MatMul"),
        helper.make_node("Relu", ["h"], ["r"], name="body/act/Relu"),
        helper.make_node("MatMul", ["r", "b"], ["y"], name="body/fc2/MatMul"),
    ]
    return save(path, nodes, [("x", TensorProto.FLOAT, ["N", 8])], [("y", TensorProto.FLOAT, ["N", 4])], weights)


def external(path: Path, rows: int, placed: bool = True, refused: bool = False) -> Path:
    """float32[N, rows] @ float32[rows, rows] + float32[rows], whose weights are in `weights.bin`, which this does not write.

    Unless `placed`, both are said to start at its first byte, as in a model that has no weights yet.
    """
    weights, offset = [], 0
    for name, shape in (("w", [rows, rows]), ("b", [rows])):
        weight = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
        length = 4 * math.prod(shape)
        for key, value in (("location", "weights.bin"), ("offset", str(offset if placed else 0)), ("length", str(length))):
            weight.external_data.add(key=key, value=value)
        weights.append(weight)
        offset += length
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="body/fc/MatMul"),
        helper.make_node("Add", ["m", "b"], ["y"], name="body/fc/Add"),
    ]
    if refused:
        nodes.append(helper.make_node("NonZero", ["y"], ["z"], name="body/where/NonZero"))
    output: Tensor = ("z", TensorProto.INT64, None) if refused else ("y", TensorProto.FLOAT, ["N", rows])
    return save(path, nodes, [("x", TensorProto.FLOAT, ["N", rows])], [output], weights)


def attention(path: Path) -> Path:
    """Four-dimensional float32 Attention-23: the library has no kernel of its own for it."""
    shape = ["N", 2, "S", 16]
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], name="body/attention/Attention")
    return save(path, [node], [(name, TensorProto.FLOAT, shape) for name in "qkv"], [("y", TensorProto.FLOAT, shape)])
