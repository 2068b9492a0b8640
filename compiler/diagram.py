"""A graph as a Mermaid flowchart: a box for each op (or group of ops), the type of each tensor on its arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from lamina.compiler.graph import Graph, Node, Value


def diagram(graph: Graph, depth: int | None = None) -> str:
    """The flowchart. With `depth`, neighbouring ops whose paths share that many parts are one box."""
    boxes = [list(g) for _, g in groupby(_steps(graph), lambda n: n.origin.path.split(".")[:depth] if depth else id(n))]
    ids = {id(v): f"i{i}" for i, v in enumerate(graph.inputs)}
    ids |= {id(v): f"n{i}" for i, box in enumerate(boxes) for node in box for v in node.outputs}
    lines = ["flowchart TD", *(f'  {ids[id(v)]}(["{v.name}"])' for v in graph.inputs)]
    for index, box in enumerate(boxes):
        lines.append(f'  n{index}["{_label(box, depth)}"]')
        lines += _arrows((v for node in box for v in node.reads()), f"n{index}", ids)
    for index, (value, source) in enumerate(_outputs(graph)):
        lines.append(f'  o{index}(["{value.name}"])')
        lines += _arrows([source], f"o{index}", ids)
    return "\n".join(lines)


def _steps(graph: Graph) -> list[Node]:
    ends = {id(v) for v in graph.outputs}
    return [n for n in graph.nodes if not (n.op_type == "identity" and id(n.outputs[0]) in ends)]


def _outputs(graph: Graph) -> Iterator[tuple[Value, Value | None]]:
    """Each output, and the value that it is or that it renames."""
    renamed = {id(n.outputs[0]): n.inputs[0] for n in graph.nodes if n.op_type == "identity"}
    for value in graph.outputs:
        yield value, renamed.get(id(value), value)


def _label(box: list[Node], depth: int | None) -> str:
    if len(box) == 1:
        node = box[0]
        name = f"{node.domain}.{node.op_type}" if node.domain not in ("", "lamina") else node.op_type
        return f"{node.origin.path}<br/>{name}"
    return f"{'.'.join(box[0].origin.path.split('.')[:depth])}<br/>{len(box)} ops"


def _arrows(inputs: Iterable[Value | None], target: str, ids: dict[int, str]) -> list[str]:
    """An arrow from each box that makes one of the inputs, once for each tensor."""
    found = {id(v): v for v in inputs if v is not None and ids.get(id(v), target) != target}
    return [f"  {ids[key]} -->{_type(v)} {target}" for key, v in found.items()]


def _type(value: Value) -> str:
    return f'|"{value.type}"|' if value.type is not None else ""
