"""Shape arithmetic on the host against the same operators on tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lamina.compiler.graph import Constant, Graph, Node, Origin, Value
from lamina.compiler.targets.torch import to_module
from lamina.compiler.targets.torch.build import build
from lamina.compiler.targets.torch.host import RULES
from lamina.schema.diagnostics import Span
from lamina.schema.dims import TensorType

ORIGIN = Origin(Span("host", 1, 1), "")
VECTOR, OTHER, ONE, SCALAR = [7, -5, 12, 0], [3, -2, -5, 4], [6], -4
CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    *(
        (op, [a, b], {})
        for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Mod")
        for a, b in ((VECTOR, OTHER), (VECTOR, SCALAR), (ONE, OTHER))
    ),
    *((op, [a], {}) for op in ("Neg", "Abs", "Identity") for a in (VECTOR, SCALAR)),
    ("Mod", [VECTOR, OTHER], {"fmod": 1}),
    ("Cast", [VECTOR], {"to": 7}),
    ("Concat", [VECTOR, ONE, OTHER], {"axis": 0}),
    ("Squeeze", [ONE], {}),
    ("Squeeze", [ONE, [0]], {}),
    ("Unsqueeze", [SCALAR, [0]], {}),
    ("Gather", [VECTOR, 2], {"axis": 0}),
    ("Gather", [VECTOR, -1], {}),
    ("Gather", [VECTOR, [3, 0]], {}),
    ("Slice", [VECTOR, [1], [3]], {}),
    ("Slice", [VECTOR, [-1], [-(2**63)], [0], [-1]], {}),
    ("Slice", [VECTOR, [0], [2**63 - 1], [0], [2]], {}),
    ("ReduceProd", [OTHER], {"keepdims": 0}),
    ("ReduceProd", [OTHER, [0]], {"keepdims": 1}),
    ("ReduceSum", [VECTOR], {"keepdims": 0}),
    ("ReduceSum", [VECTOR, [0]], {}),
]


def _graph(op: str, values: list[Value], inputs: tuple[Value, ...], attributes: dict[str, Any]) -> Graph:
    out = Value("y")
    return Graph("host", inputs, (out,), (Node(op, tuple(values), (out,), ORIGIN, attributes),))


@pytest.mark.parametrize(("op", "arguments", "attributes"), CASES)
def test_host_rule_is_the_operator(op: str, arguments: list[Any], attributes: dict[str, Any]) -> None:
    arrays = [np.asarray(a, np.int64) for a in arguments]
    known: list[Value] = [Constant(f"c{i}", TensorType("int64", a.shape), a) for i, a in enumerate(arrays)]
    asked: list[Value] = [Value(f"x{i}", TensorType("int64", a.shape)) for i, a in enumerate(arrays)]
    wanted = to_module(_graph(op, asked, tuple(asked), attributes))(*(torch.from_numpy(a) for a in arrays))
    got = to_module(_graph(op, known, (), attributes))()
    assert isinstance(got, torch.Tensor)
    assert got.dtype == wanted.dtype == torch.int64
    assert got.shape == wanted.shape
    assert got.tolist() == wanted.tolist()
    functions = {node.target for node in build(_graph(op, known, (), attributes)).graph.nodes if node.op == "call_function"}
    assert functions <= {torch.tensor, getattr}, "the constants were not folded on the host"


def test_every_rule_has_a_case() -> None:
    assert {op for op, _, _ in CASES} == RULES.keys()
