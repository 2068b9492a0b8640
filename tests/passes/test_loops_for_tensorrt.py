"""What TensorRT asks of loops changes no output: ONNX Runtime gives the same for both graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Graph, Node, Origin, Value
from lamina.compiler.lower import lower
from lamina.compiler.passes.hoist_constant import hoist_constant
from lamina.compiler.targets.onnx import to_onnx
from lamina.schema.diagnostics import Span
from lamina.schema.dims import TensorType

HEAD = """lamina: 1
model: loops
inputs: {x: "float32[N, T]"}
dims: {N: {min: 1, opt: 2, max: 8}, T: {min: 1, opt: 5, max: 64}}
body:
"""
CARRIED = "scan: {over: 0, values: {v: x}, carry: {h: 'zeros([T])'}, do: ['h = tanh(h + 1)'], collect: {y: h}}"
FIXED = "map: {over: 0, values: {v: x}, do: ['w = sin(x[0]) > 0'], collect: {y: w}}"
INNER = """map:
      over: 0
      values: {v: x}
      do:
        - iterate: {carry: {z: 'ones([T])'}, do: ['z = tanh(z + x[0])'], until: 'null', at_most: 3}
      collect: {y: z}"""
DEPENDS = "map: {over: 0, values: {v: x}, do: ['w = v * 2 + sin(v)'], collect: {y: w}}"


def lowered(tmp_path: Path, loop: str, target: Any) -> Graph:
    dtype = "bool" if loop == FIXED else "float32"
    (tmp_path / "spec.yaml").write_text(f"{HEAD}  - {loop}\n  - y\noutputs: {{y: '{dtype}[N, T]'}}\n")
    return lower(elaborate(lamina.load(tmp_path / "spec.yaml")).graph, target)


def outputs(graph: Graph, x: np.ndarray[Any, Any]) -> list[Any]:
    session = ort.InferenceSession(to_onnx(graph, {}, {}).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})  # type: ignore[no-any-return]


def scan(graph: Graph) -> Node:
    (node,) = (node for node in graph.nodes if node.op_type == "Scan")
    return node


@pytest.mark.parametrize("loop", [CARRIED, FIXED, INNER, DEPENDS])
def test_outputs_stay(loop: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4), dtype=np.float32)
    found, wanted = (outputs(lowered(tmp_path, loop, target), x) for target in ("tensorrt", "onnx"))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("loop", "sequences"), [(CARRIED, 2), (FIXED, 2), (DEPENDS, 1)])
def test_what_is_collected_depends_on_a_slice(loop: str, sequences: int, tmp_path: Path) -> None:
    assert scan(lowered(tmp_path, loop, "tensorrt")).attributes["num_scan_inputs"] == sequences


def test_an_inner_loop_that_no_pass_changes_stands_before_the_outer(tmp_path: Path) -> None:
    graph = lowered(tmp_path, INNER, "tensorrt")
    body = scan(graph).body
    assert body is not None
    assert [node.op_type for node in body.nodes if node.body is not None] == []
    assert [node.op_type for node in graph.nodes if node.body is not None] == ["Loop", "Scan"]


def test_random_numbers_are_drawn_in_every_pass() -> None:
    origin = Origin(Span("spec.yaml", 1, 1), "draw")
    x, row, drawn, y = (
        Value(name, TensorType("float32", shape)) for name, shape in (("x", (2, 3)), ("row", (3,)), ("d", (3,)), ("y", (2, 3)))
    )
    body = Graph("body", (row,), (drawn,), (Node("RandomNormalLike", (x,), (drawn,), origin),))
    loop = Node("Scan", (x,), (y,), origin, {"num_scan_inputs": 1, "scan_input_axes": (0,)}, body=body)
    (kept,) = hoist_constant(Graph("draw", (x,), (y,), (loop,))).nodes
    assert kept.body is not None
    assert kept.body.nodes == body.nodes


def test_a_relu_beside_a_gelu_is_a_maximum(tmp_path: Path) -> None:
    kinds = {
        loop: {node.op_type for node in lowered(tmp_path, f"y = {loop}", "tensorrt").nodes} for loop in ("gelu(x) + relu(x)", "relu(x)")
    }
    assert "Relu" not in kinds["gelu(x) + relu(x)"]
    assert "Relu" in kinds["relu(x)"]
