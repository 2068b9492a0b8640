"""Which integer inputs are indices, and below what: read off the operators that look them up in a table of known length."""

from __future__ import annotations

from lamina.compiler.graph import Graph, Value


def index_bounds(graph: Graph) -> dict[str, int]:
    """By input name, the least number of entries that its values index. Requires standard operators."""
    inputs = {id(v): v.name for v in graph.inputs}
    found: dict[str, int] = {}
    for node in graph.nodes:
        table, index = (*node.inputs, None, None)[:2]
        if node.op_type != "Gather" or table is None or index is None or id(index) not in inputs:
            continue
        entries = _entries(table, node.attributes.get("axis", 0))
        if entries is not None:
            name = inputs[id(index)]
            found[name] = min(found.get(name, entries), entries)
    return found


def _entries(table: Value, axis: object) -> int | None:
    """The length of a table along an axis, when it is a number."""
    if table.type is None or not isinstance(axis, int):
        return None
    size = table.type.shape[axis]
    return size if isinstance(size, int) else None
