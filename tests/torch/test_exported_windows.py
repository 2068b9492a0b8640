"""Windows whose padding follows a dynamic size export for every size, in programs whose sizes stay short expressions."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from lamina.compiler.graph import Graph, Node, Origin, Value
from lamina.compiler.targets.torch import to_module
from lamina.compiler.targets.torch.export import export
from lamina.schema.diagnostics import Span
from lamina.schema.dims import Dim, Symbol, TensorType

SIZE = Symbol("L", 64, 200, 1024)
LAYERS = 5
WINDOW = {"kernel_shape": (3,), "strides": (2,)}
SAME = WINDOW | {"auto_pad": "SAME_UPPER"}


def _same(x: torch.Tensor) -> torch.Tensor:
    """As TensorFlow pads: the odd element at the end."""
    total = max((-(-x.shape[-1] // 2) - 1) * 2 + 3 - x.shape[-1], 0)
    return F.max_pool1d(F.pad(x, (total // 2, total - total // 2), value=float("-inf")), 3, 2)


def _graph(op_type: str, attributes: dict[str, Any]) -> Graph:
    values = [Value("x", TensorType("float32", (1, 2, Dim.of(SIZE))))]
    values += [Value(f"y_{i}", None) for i in range(LAYERS)]
    nodes = tuple(
        Node(op_type, (a,), (b,), Origin(Span("model.yaml", i + 1, 3), f"pool_{i}"), attributes)
        for i, (a, b) in enumerate(pairwise(values))
    )
    return Graph("pools", (values[0],), (values[-1],), nodes)


@pytest.mark.parametrize(
    ("op_type", "attributes", "reference"),
    [
        pytest.param("MaxPool", SAME, _same, id="same"),
        pytest.param("MaxPool", WINDOW | {"ceil_mode": 1}, lambda x: F.max_pool1d(x, 3, 2, ceil_mode=True), id="ceil"),
        pytest.param("AveragePool", WINDOW | {"ceil_mode": 1}, lambda x: F.avg_pool1d(x, 3, 2, 0, True, False), id="average"),
    ],
)
def test_every_size(op_type: str, attributes: dict[str, Any], reference: Any) -> None:
    graph = _graph(op_type, attributes)
    program = export(to_module(graph), graph)
    sizes = [str(size) for node in program.graph.nodes for size in getattr(node.meta.get("val"), "shape", ())]
    assert max(map(len, sizes)) < 60
    generator = torch.Generator().manual_seed(0)
    for size in (64, 65, 97, 127, 1021, 1024):
        x = wanted = torch.randn(1, 2, size, generator=generator)
        for _ in range(LAYERS):
            wanted = reference(wanted)
        torch.testing.assert_close(program.module(check_guards=False)(x), wanted)
