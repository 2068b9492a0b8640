"""What `lamina show` prints: a model's steps, or the operators that a target gets, as a table, JSON, a Mermaid diagram or a page."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lamina.compiler.diagram import diagram
from lamina.compiler.elaborate import Elaborated
from lamina.compiler.graph import Graph, Node
from lamina.compiler.lower import Target, lower
from lamina.compiler.summary import Row, Summary, grouped, human, parameter_count, summarize

_HEAD = ("step", "op", "output", "belongs to", "parameters", "MACs", "memory")
_TEXTS = 4  # columns that are aligned to the left
_ALWAYS = 3  # columns that are shown even when they say nothing
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem; max-width: 70rem }}
table {{ border-collapse: collapse; width: 100% }} td, th {{ padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: left }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums }} code {{ color: #245 }}
</style></head><body><h1>{title}</h1><p>{totals}</p><table>
<tr><th>step</th><th>op</th><th>output</th><th>belongs to</th>
<th class="n">parameters</th><th class="n">MACs</th><th class="n">memory</th><th>line</th></tr>
{rows}
</table></body></html>"""


@dataclass(frozen=True, slots=True)
class View:
    """What is shown: a graph, its summary, and how many parts of a path a row stands for (None: all of it)."""

    title: str
    graph: Graph
    summary: Summary
    depth: int | None = None

    def render(self, format: str) -> str:
        """The view as `table`, `json`, `mermaid` or `html`."""
        return {"table": _table, "json": _json, "mermaid": _mermaid, "html": _html}[format](self)

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.summary.rows if self.depth is None else grouped(self.summary.rows, self.depth)


def steps_view(title: str, model: Elaborated, at: dict[str, int], depth: int | None = None) -> View:
    """The steps of a model, counted at some sizes."""
    return View(title, model.graph, summarize(model, at), depth)


def operators_view(title: str, model: Elaborated, target: Target, depth: int | None = None) -> View:
    """The operators that a target gets."""
    graph = lower(model.graph, target)
    rows = tuple(_operator(n) for n in graph.all_nodes())
    return View(f"{title} for {target}", graph, Summary(rows, parameter_count(model.graph), 0, 0, {}), depth)


def _operator(node: Node) -> Row:
    name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    types = ", ".join(str(v.type) for v in node.outputs if v.type is not None)
    return Row(node.origin.path, name, types, 0, 0, 0, node.origin.span, node.origin.form)


def _totals(view: View) -> str:
    summary = view.summary
    text = f"{len(summary.rows)} ops, {human(summary.parameters)} parameters"
    if summary.weight_bytes:
        text += f" ({_bytes(summary.weight_bytes)})"
    if summary.macs:
        sizes = ", ".join(f"{k}={v}" for k, v in summary.sizes.items())
        text += f", {human(summary.macs)} MACs" + (f" at {sizes}" if sizes else "")
    return text


def _table(view: View) -> str:
    cells = [_HEAD, *(_cells(row) for row in view.rows)]
    used = [i for i in range(len(_HEAD)) if i < _ALWAYS or any(row[i] for row in cells[1:])]
    widths = {i: max(len(row[i]) for row in cells) for i in used}
    lines = [_line(row, widths) for row in cells]
    rule = "  ".join("-" * widths[i] for i in used)
    return "\n".join([lines[0], rule, *lines[1:], rule, f"{view.title}: {_totals(view)}"])


def _cells(row: Row) -> tuple[str, ...]:
    form = f"{row.form}, {Path(row.span.file).name}:{row.span.line}" if row.form else ""
    return row.path, row.op, row.output, form, _count(row.parameters), _count(row.macs), _bytes(row.bytes)


def _line(row: Sequence[str], widths: dict[int, int]) -> str:
    return "  ".join(row[i].ljust(w) if i < _TEXTS else row[i].rjust(w) for i, w in widths.items()).rstrip()


def _json(view: View) -> str:
    return json.dumps({"model": view.title, **asdict(replace(view.summary, rows=view.rows))}, indent=1)


def _html(view: View) -> str:
    cells = "<tr><td><code>{}</code></td><td>{}</td><td><code>{}</code></td><td>{}</td>" + "<td class=n>{}</td>" * 3 + "<td>{}</td></tr>"
    rows = [cells.format(*map(html.escape, (*_cells(r), str(r.span.line)))) for r in view.rows]
    return _PAGE.format(title=html.escape(view.title), totals=html.escape(_totals(view)), rows="\n".join(rows))


def _mermaid(view: View) -> str:
    return diagram(view.graph, view.depth)


def _count(number: int) -> str:
    return human(number) if number else ""


def _bytes(number: int) -> str:
    return f"{human(number)}B" if number else ""
