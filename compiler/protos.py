"""The nodes of an ONNX file: of a GraphProto, and of the graphs that its loops and choices hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def all_graphs(graph: Any) -> Iterator[Any]:
    """A GraphProto, and the bodies of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from all_graphs(attribute.g)


def all_nodes(nodes: Iterable[Any]) -> Iterator[Any]:
    """Each node, followed by those of its bodies."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from all_nodes(attribute.g.node)
