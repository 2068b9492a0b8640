"""What the tests of passes build graphs with, and how they run them: onnx's reference evaluator computes every value."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

import lamina
from lamina.compiler.builder import Builder
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Graph, Origin, Parameter, Value
from lamina.compiler.targets.onnx import to_onnx
from lamina.compiler.weights.derived import tensor_of
from lamina.compiler.weights.seeded import Seeded
from lamina.schema.diagnostics import Span
from lamina.schema.dims import Dim, Symbol, TensorType

Array = np.ndarray[Any, Any]
N = Dim.of(Symbol("N", 1, 2, 8))
WEIGHTS = Seeded(0)


def builder() -> Builder:
    """A builder of standard operators, for graphs that are made by hand."""
    count = itertools.count(1)
    return Builder(Origin(Span("spec.yaml", 1, 1), "body"), "body", {}, lambda base: f"{base}_{next(count)}")


def value(name: str, *shape: Any, dtype: str = "float32") -> Value:
    return Value(name, TensorType(dtype, shape))


def weight(name: str, *shape: int, init: str = "normal(1.0)") -> Parameter:
    return Parameter(name, TensorType("float32", shape), init)


def named(g: Builder, op_type: str, *inputs: Value | None, result: Value, **attributes: Any) -> Value:
    """Add an operator whose output is a value of one's own: one with a name and a type."""
    g(op_type, *inputs, **attributes)
    made = g.nodes.pop()
    g.nodes.append(type(made)(made.op_type, made.inputs, (result,), made.origin, made.attributes))
    return result


def graph(g: Builder, inputs: Sequence[Value], outputs: Sequence[Value]) -> Graph:
    return Graph("test", tuple(inputs), tuple(outputs), tuple(g.nodes))


def elaborated(tmp_path: Path, body: str, inputs: str = "x: 'float32[N, 6]'", outputs: str = "y: 'float32[N, 6]'") -> Graph:
    """The graph of ops of a small spec; `N` is its only dynamic dim."""
    path = tmp_path / "spec.yaml"
    dims = "dims: {N: {min: 1, opt: 2, max: 8}}\n"
    path.write_text(f"lamina: 1\nmodel: test\ninputs: {{{inputs}}}\n{dims}body: {body}\noutputs: {{{outputs}}}\n")
    return elaborate(lamina.load(path)).graph


def run(graph: Graph, feeds: Mapping[str, Array]) -> list[Array]:
    """The outputs, in order. Derived tensors are computed as they are when weights are written."""
    tensors = {v.name: tensor_of(v, WEIGHTS) for v in graph.initializers()}
    proto = to_onnx(graph, tensors, {})
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(t.numpy()).reshape(t.shape), n) for n, t in tensors.items())
    return [np.asarray(found) for found in ReferenceEvaluator(proto).run(None, dict(feeds))]


def draw(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def assert_same(before: Graph, after: Graph, feeds: Mapping[str, Array], rtol: float = 0.0) -> None:
    """Both graphs give the same numbers under the same names, `after` to `rtol` of the largest magnitude."""
    assert [v.name for v in after.inputs] == [v.name for v in before.inputs]
    for want, got in zip(run(before, feeds), run(after, feeds), strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=0, atol=rtol * np.abs(want).max(initial=0))


def op_types(graph: Graph) -> Counter[str]:
    return Counter(node.op_type for node in graph.nodes)
