"""What `lamina show --profile` prints: the spec's own lines, and in the margin what each costs, as a table, JSON or a page."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import PurePath

from lamina.compiler.graph import Origin
from lamina.compiler.summary import human
from lamina.profile import Profile, Row

_HEAD = f"{'time':>10} {'share':>7} {'':10} {'calls':>6} {'memory':>8}  "
_MARGIN = len(_HEAD)
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_GAP = 2  # lines without a cost that are shown between others
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem }} table {{ border-collapse: collapse }} h2 {{ font-size: 1rem }}
td, th {{ padding: 0 .6rem; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }} td.s, th.s {{ text-align: left }}
td.s {{ white-space: pre; font-family: ui-monospace, monospace }} td.b {{ width: 8rem; text-align: left }} i {{ color: #777 }}
td.b div {{ background: #e6784a; height: .8rem }} tr:hover {{ background: #f4f4f4 }}
</style></head><body><h1>{title}</h1><p>{summary}</p>
{tables}
</body></html>"""


@dataclass(slots=True)
class Cost:
    """What a line costs in one call of the model; `within` are the lines that its work was fused into, where it has some that was."""

    milliseconds: float = 0.0
    calls: int = 0
    bytes: int = 0
    within: dict[tuple[str, int], None] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        self.milliseconds += row.milliseconds
        self.calls += row.calls
        self.bytes += row.bytes


@dataclass(frozen=True, slots=True)
class ProfileView:
    """A profile, beside the texts of the files that its steps stand in; `root` is the spec's file."""

    title: str
    profile: Profile
    sources: Mapping[str, str]
    root: str

    def render(self, format: str) -> str:
        """The view as `table`, `json` or `html`."""
        return {"table": _table, "json": _json, "html": _html}[format](self)

    def lines(self) -> dict[str, dict[int, Cost]]:
        """What each line costs, by file and number; the spec's own file first."""
        found: dict[str, dict[int, Cost]] = {self.root: {}}
        for row in self.profile.rows:
            if not row.added:
                first, *others = (_place(origin) for origin in row.origins)
                self._cost(found, first).add(row)
                for place in others:
                    if place != first:
                        self._cost(found, place).within[first] = None
        return {file: dict(sorted(costs.items())) for file, costs in found.items() if costs}

    def added(self) -> dict[str, Cost]:
        """What nodes cost that the runtime added, by operator."""
        found: dict[str, Cost] = {}
        for row in self.profile.rows:
            if row.added:
                found.setdefault(row.op, Cost()).add(row)
        return found

    def name(self, file: str) -> str:
        """A file as it is seen from the spec's folder."""
        path, folder = PurePath(file), PurePath(self.root).parent
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else file

    @staticmethod
    def _cost(found: dict[str, dict[int, Cost]], place: tuple[str, int]) -> Cost:
        return found.setdefault(place[0], {}).setdefault(place[1], Cost())

    @property
    def summary(self) -> str:
        """Where, how long, and how that was found."""
        p = self.profile
        sizes = ", ".join(f"{name}={size}" for name, size in p.sizes.items())
        return (
            f"{self.title}{' at ' if sizes else ''}{sizes}, {p.target} on the CPU: {_time(p.milliseconds)} a call, "
            f"{_time(p.unprofiled)} without the profiler (the fastest quarter of {p.calls} calls)"
        )


def _place(origin: Origin) -> tuple[str, int]:
    return origin.span.file, origin.span.line


def shown(text: str, costs: Mapping[int, Cost]) -> Iterator[tuple[int, str] | None]:
    """The lines of a text that cost something, those that they stand under, and short gaps; None for a longer one."""
    lines = text.splitlines()
    wanted = {number for cost in costs for number in (cost, *_above(lines, cost))}
    last = min(wanted, default=1) - 1
    for number in sorted(wanted):
        if number - last > _GAP + 1:
            yield None
        else:
            yield from ((n, lines[n - 1]) for n in range(last + 1, number))
        yield number, lines[number - 1]
        last = number


def _above(lines: list[str], number: int) -> Iterator[int]:
    """The lines that a line stands under, by their indentation."""
    depth = _depth(lines[number - 1])
    for above in range(number - 1, 0, -1):
        text = lines[above - 1]
        if text.strip() and not text.lstrip().startswith("#") and _depth(text) < depth:
            depth = _depth(text)
            yield above


def _depth(text: str) -> int:
    return len(text) - len(text.lstrip())


def _table(view: ProfileView) -> str:
    total = view.profile.milliseconds
    lines = [view.summary, ""]
    for file, costs in view.lines().items():
        lines.append(f"{_HEAD}{view.name(file)}")
        for line in shown(view.sources[file], costs):
            if line is None:
                lines.append(f"{'':{_MARGIN}}{'⋮':>4}")
            else:
                cost = costs.get(line[0])
                lines.append(f"{_margin(view, file, cost, total)}{line[0]:>4} {line[1]}".rstrip())
        lines.append("")
    lines.append(f"{_HEAD}of no line")
    lines += [f"{_margin(view, '', cost, total)}{op}, which ONNX Runtime added" for op, cost in view.added().items()]
    lines.append(f"{_margin(view, '', Cost(view.profile.between), total)}between operators")
    everything = Cost(total)
    for row in view.profile.rows:
        everything.calls += row.calls
        everything.bytes += row.bytes
    lines += ["", f"{_margin(view, '', everything, total)}in all"]
    return "\n".join(line.rstrip() for line in lines)


def _margin(view: ProfileView, file: str, cost: Cost | None, total: float) -> str:
    if cost is None:
        return " " * _MARGIN
    if not cost.milliseconds:
        return f"{'in ' + _within(view, file, cost) if cost.within else '':>{_MARGIN - 2}}  "
    share = cost.milliseconds / total
    calls, filled = str(cost.calls or ""), f"{human(cost.bytes)}B" if cost.bytes else ""
    return f"{_time(cost.milliseconds):>10} {share:>7.1%} {_bar(share):10} {calls:>6} {filled:>8}  "


def _within(view: ProfileView, file: str, cost: Cost) -> str:
    """The lines that the work is fused into, as they are called from a file."""
    return ", ".join(f"line {line}" if at == file else f"{PurePath(at).name}:{line}" for at, line in cost.within)


def _bar(share: float) -> str:
    """A share as up to ten blocks, in steps of an eighth."""
    full, rest = divmod(round(min(max(share, 0.0), 1.0) * 80), 8)
    return ("█" * full + _EIGHTHS[rest]).rstrip()


def _time(milliseconds: float) -> str:
    return f"{milliseconds / 1e3:.2f} s" if milliseconds >= 1e4 else f"{milliseconds:.{1 if milliseconds >= 100 else 2}f} ms"


def _json(view: ProfileView) -> str:
    lines = [
        {"file": view.name(file), "line": number, **asdict(cost), "within": [{"file": view.name(f), "line": n} for f, n in cost.within]}
        for file, costs in view.lines().items()
        for number, cost in costs.items()
    ]
    return json.dumps({"model": view.title, "between": view.profile.between, "lines": lines, **asdict(view.profile)}, indent=1)


def _html(view: ProfileView) -> str:
    total = view.profile.milliseconds
    tables = []
    for file, costs in view.lines().items():
        rows = []
        for line in shown(view.sources[file], costs):
            number, text = line or ("⋮", "")
            rows.append(_html_row(view, file, costs.get(line[0]) if line else None, total, f"{number:>4}  {text}"))
        tables.append(_html_table(view.name(file), rows))
    rest = {**{f"{op}, which ONNX Runtime added": c for op, c in view.added().items()}, "between operators": Cost(view.profile.between)}
    tables.append(_html_table("of no line", [_html_row(view, "", cost, total, what) for what, cost in rest.items()]))
    return _PAGE.format(title=html.escape(view.title), summary=html.escape(view.summary), tables="\n".join(tables))


def _html_table(name: str, rows: list[str]) -> str:
    head = f'<tr><th>time<th>share<th><th>calls<th>memory<th class="s">{html.escape(name)}</tr>'
    return "\n".join(["<table>", head, *rows, "</table><br>"])


def _html_row(view: ProfileView, file: str, cost: Cost | None, total: float, text: str) -> str:
    cells = "<td><td><td><td><td>"
    if cost is not None and cost.milliseconds:
        share = cost.milliseconds / total
        bar = f'<td class="b"><div style="width: {100 * share:.1f}%"></div>'
        cells = f"<td>{_time(cost.milliseconds)}<td>{share:.1%}{bar}<td>{cost.calls or ''}<td>{human(cost.bytes)}B"
    elif cost is not None and cost.within:
        cells = f"<td colspan=5><i>in {html.escape(_within(view, file, cost))}</i>"
    return f'<tr>{cells}<td class="s">{html.escape(text)}</tr>'
