"""Decomposition leaves no op, keeps every op's output as the value it was, and asks the target's fast paths first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from passes_bench import assert_same, draw, elaborated, op_types, run

import lamina
from lamina.compiler.builder import Builder
from lamina.compiler.graph import LAMINA, Graph, Node, Value
from lamina.compiler.op import Op, fast_path, paths_for
from lamina.compiler.passes.decompose import decompose
from lamina.schema.diagnostics import SpecError
from lamina.schema.dims import TensorType

BODY = "[linear: 12, gelu, 'a, b = split(x, 2)', a * sigmoid(b), layer_norm, dropout: 0.1]"


def made(graph: Graph) -> Iterator[Value]:
    yield from (v for node in graph.nodes for v in node.outputs)


@pytest.mark.parametrize("target", ["onnx", "onnxruntime", "tensorrt", "torch", "definition"])
def test_every_op_s_output_is_still_the_same_value(target: str, tmp_path: Path) -> None:
    graph = elaborated(tmp_path, BODY)
    lowered = decompose(graph, target)
    assert all(node.domain != LAMINA for node in lowered.nodes)
    kept = set(made(lowered))
    assert [v for v in made(graph) if v not in kept] == []
    assert lowered.outputs == graph.outputs
    assert lowered.inputs == graph.inputs


def test_operators_say_which_op_they_come_from(tmp_path: Path) -> None:
    graph = elaborated(tmp_path, BODY)
    ops = {(node.origin.span, node.origin.path, node.op_type) for node in graph.nodes if node.op_type != "identity"}
    lowered = decompose(graph, "onnx").nodes
    assert {(node.origin.span, node.origin.path, node.origin.form.partition(".")[0]) for node in lowered} >= ops
    assert all(node.op is not None and node.op.name == node.origin.form.partition(".")[0] for node in lowered if node.origin.form)


def test_a_definition_that_returns_its_input_is_only_another_name(tmp_path: Path) -> None:
    graph = elaborated(tmp_path, "[identity, relu, identity]")
    lowered = decompose(graph, "definition")
    assert op_types(lowered) == {"Relu": 1, "Identity": 1}
    assert lowered.nodes[0].inputs == graph.inputs
    assert lowered.nodes[1].outputs == graph.outputs
    x = draw(2, 6)
    (y,) = run(lowered, {"x": x})
    assert (y == x.clip(0)).all()


def test_an_output_that_is_an_input_has_a_name_of_its_own(tmp_path: Path) -> None:
    graph = elaborated(tmp_path, "[identity]")
    lowered = decompose(graph, "onnx")
    assert op_types(lowered) == {"Identity": 1}
    assert_same(lowered, lowered, {"x": draw(3, 6)})
    assert [v.name for v in lowered.outputs] == ["y"]


class Twice(Op):
    """Both outputs are one value."""

    name = "twice"

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        return x, x

    def define(self, g: Builder, x: Value) -> tuple[Value, Value]:
        y = g("Relu", x)
        return y, y

    @fast_path("onnx")
    def declines(self, g: Builder, x: Value) -> object:
        g("Relu", x)
        return NotImplemented

    @fast_path("onnx", "tensorrt")
    def takes(self, g: Builder, x: Value) -> tuple[Value, Value]:
        return g("Abs", x), g("Neg", x)


def twice(graph: Graph) -> Graph:
    """A graph of one `twice` between the input and two outputs."""
    x = graph.inputs[0]
    outputs = (Value("a", x.type), Value("b", x.type))
    node = Node("twice", (x,), outputs, graph.nodes[0].origin, {"weights": ()}, LAMINA, Twice())
    return Graph("test", graph.inputs, outputs, (node,))


def test_one_value_that_is_two_outputs(tmp_path: Path) -> None:
    lowered = decompose(twice(elaborated(tmp_path, "[relu]")), "definition")
    x = draw(2, 6)
    a, b = run(lowered, {"x": x})
    assert (a == x.clip(0)).all()
    assert (b == a).all()
    assert [v.name for v in lowered.outputs] == ["a", "b"]


@pytest.mark.parametrize(("target", "operators"), [("onnx", {"Abs", "Neg"}), ("tensorrt", {"Abs", "Neg"}), ("torch", {"Relu", "Identity"})])
def test_the_first_fast_path_that_takes_the_op_is_used(target: str, operators: set[str], tmp_path: Path) -> None:
    """What a path that declines has built is gone."""
    lowered = decompose(twice(elaborated(tmp_path, "[relu]")), target)
    assert set(op_types(lowered)) == operators
    forms = {node.origin.form for node in lowered.nodes if node.op_type != "Identity"}
    assert forms == ({"twice"} if target == "torch" else {"twice.takes"})


def test_paths_are_tried_in_the_order_of_the_class() -> None:
    assert paths_for(Twice, "onnx") == ("declines", "takes", "define")
    assert paths_for(Twice, "torch") == ("define",)


def test_fast_paths_compute_what_the_definition_computes(tmp_path: Path) -> None:
    split = "reshape(x, [N, 2, 3, 4])"
    body = f"['attention({split}, {split} * 2, {split} + 1, causal=True)', rotary_embedding, flatten: 1]"
    graph = elaborated(tmp_path, body, "x: 'float32[N, 24]'", "y: 'float32[N, 24]'")
    plain, fast = decompose(graph, "definition"), decompose(graph, "onnxruntime")
    assert op_types(fast)["Attention"] == op_types(fast)["RotaryEmbedding"] == 1
    assert op_types(plain)["Attention"] == op_types(plain)["RotaryEmbedding"] == 0
    assert_same(plain, fast, {"x": draw(2, 24)}, rtol=1e-6)


def test_a_size_that_no_input_shows_is_refused_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        'lamina: 1\nmodel: m\ninputs: {x: "float32[2 * T]"}\ndims: {T: {min: 1, max: 8}}\n'
        'body:\n  - y = arange(T)\noutputs: {y: "int64[T]"}\n'
    )
    with pytest.raises(SpecError, match="needs the size `T`, which stands alone in no input") as caught:
        lamina.compile(lamina.load(path), tmp_path / "bundle")
    assert [d.span.line for d in caught.value.diagnostics] == [6]
