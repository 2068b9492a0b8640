"""A summary as a table, JSON, a Mermaid diagram, or a page."""

from __future__ import annotations

import html
import json
from dataclasses import asdict

from lamina.compiler.elaborate.elaborator import Elaborated
from lamina.compiler.graph import Graph, Node, Value
from lamina.compiler.lower import Target, lower
from lamina.compiler.summary import Row, Summary, human, parameter_count

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem; max-width: 70rem }}
table {{ border-collapse: collapse; width: 100% }} td, th {{ padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: left }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums }} code {{ color: #245 }}
</style></head><body><h1>{title}</h1><p>{totals}</p><table>
<tr><th>step</th><th>op</th><th>output</th><th class="n">parameters</th><th class="n">MACs</th><th class="n">memory</th><th>line</th></tr>
{rows}
</table></body></html>"""


def render(model: Elaborated, summary: Summary, format: str) -> str:  # the option's name
    """The summary in a format: table, json, mermaid or html."""
    views = {"table": _table, "json": _json, "mermaid": _mermaid, "html": _html}
    return views[format](model, summary)


def operators(model: Elaborated, target: str) -> Summary:
    """The operators that a target gets, as rows. Raises ValueError for an unknown target."""
    names: dict[str, Target] = {"onnx": "onnx", "onnxruntime": "onnxruntime", "tensorrt": "tensorrt", "torch": "torch"}
    if target not in names:
        raise ValueError(f"unknown target {target!r}; targets are {', '.join(names)}")
    graph = lower(model.graph, names[target])
    rows = tuple(_operator(n) for n in graph.nodes)
    return Summary(rows, parameter_count(model.graph), 0, 0, {n: d.opt for n, d in model.dims.items()})


def _operator(node: Node) -> Row:
    name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    types = ", ".join(str(v.type) for v in node.outputs if v.type is not None)
    return Row(node.origin.path, name, types, 0, 0, 0, node.origin.span)


def _totals(summary: Summary) -> str:
    at = ", ".join(f"{k}={v}" for k, v in summary.sizes.items())
    weights = f", {human(summary.weight_bytes)}B of weights" if summary.weight_bytes else ""
    macs = f", {human(summary.macs)} MACs at {at or 'fixed sizes'}" if summary.macs else ""
    return f"{human(summary.parameters)} parameters{macs}{weights}, {len(summary.rows)} steps"


def _table(model: Elaborated, summary: Summary) -> str:
    head = ("step", "op", "output", "parameters", "MACs", "memory")
    body = [(r.path, r.op, r.output, _count(r.parameters), _count(r.macs), _count(r.bytes)) for r in summary.rows]
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in (head, *body)
    ]
    return "\n".join([*lines, "", f"{model.graph.name}: {_totals(summary)}"])


def _json(model: Elaborated, summary: Summary) -> str:
    return json.dumps({"model": model.graph.name, **asdict(summary)}, indent=1)


def _html(model: Elaborated, summary: Summary) -> str:
    cells = "<tr><td><code>{}</code></td><td>{}</td><td><code>{}</code></td>" + "<td class=n>{}</td>" * 3 + "<td>{}</td></tr>"
    rows = [
        cells.format(*map(html.escape, (r.path, r.op, r.output, _count(r.parameters), _count(r.macs), _count(r.bytes), str(r.span.line))))
        for r in summary.rows
    ]
    return _PAGE.format(title=html.escape(model.graph.name), totals=html.escape(_totals(summary)), rows="\n".join(rows))


def _mermaid(model: Elaborated, summary: Summary) -> str:
    graph = model.graph
    ids = _ids(graph)
    lines = ["flowchart TD"]
    lines += [f'  {ids[id(v)]}(["{v.name}<br/>{v.type}"])' for v in graph.inputs]
    for node in graph.nodes:
        lines.append(f'  {ids[id(node.outputs[0])]}["{node.origin.path}<br/>{node.outputs[0].type}"]')
        lines += [f"  {ids[id(v)]} --> {ids[id(node.outputs[0])]}" for v in node.inputs if v is not None and id(v) in ids]
    return "\n".join(lines)


def _ids(graph: Graph) -> dict[int, str]:
    """A short name for every value, the same for all outputs of a node."""
    ids: dict[int, str] = {id(v): f"i{i}" for i, v in enumerate(graph.inputs)}
    for index, node in enumerate(graph.nodes):
        outputs: tuple[Value, ...] = node.outputs
        ids.update({id(v): f"n{index}" for v in outputs})
    return ids


def _count(number: int) -> str:
    return human(number) if number else ""
