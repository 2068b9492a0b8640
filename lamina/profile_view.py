"""What `lamina show --profile` prints: the spec's own lines, and in the margin what each costs, as a table, JSON or a page."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePath

from lamina.compiler.graph import Origin
from lamina.compiler.provenance import Places
from lamina.compiler.summary import human
from lamina.profile import Profile, Row

_HEAD = f"{'time':>10} {'share':>7} {'':10} {'calls':>6} {'memory':>8}  "
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_GAP = 2  # lines without a cost that are shown between others
_LEFT_OUT = f"{'⋮':>4}"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem }} table {{ border-collapse: collapse; margin-bottom: 1rem }} i {{ color: #777 }}
td, th {{ padding: 0 .6rem; text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }} td.s, th.s {{ text-align: left }}
td.s {{ white-space: pre; font-family: ui-monospace, monospace }} tr:hover {{ background: #f4f4f4 }} td.b {{ width: 8rem }}
td.b div {{ background: #e6784a; height: .8rem }}
</style></head><body><h1>{title}</h1><p>{summary}</p>
{tables}
</body></html>"""


@dataclass(slots=True)
class Cost:
    """What a line or a step costs in one call of the model; `within` are the places of lines that other work of it was fused into."""

    milliseconds: float = 0.0
    calls: int = 0
    bytes: int = 0
    within: dict[tuple[str, int], None] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        self.milliseconds += row.milliseconds
        self.calls += row.calls
        self.bytes += row.bytes


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, and texts, each with what it costs if it costs anything, or else where."""

    heading: str
    lines: tuple[tuple[str, Cost | None, str], ...]


@dataclass(frozen=True, slots=True)
class ProfileView:
    """A profile, beside the texts of the files that its steps stand in, of which `root` is the spec's; or with `depth`, by the first
    parts of the steps' paths."""

    title: str
    profile: Profile
    sources: Mapping[str, str]
    root: str
    depth: int | None = None

    def render(self, format: str) -> str:
        """The view as `table`, `json` or `html`."""
        return {"table": _table, "json": _json, "html": _html}[format](self)

    @property
    def summary(self) -> str:
        """Where, how long, and how that was found."""
        p = self.profile
        sizes = ", ".join(f"{name}={size}" for name, size in p.sizes.items())
        at = f"{self.title} at {sizes}" if sizes else self.title
        times = f"{_time(p.milliseconds)} a call, {_time(p.unprofiled)} without the profiler"
        return f"{at}, {p.target} on the CPU: {times} (the fastest quarter of {p.calls} calls)"

    def lines(self) -> dict[str, dict[int, Cost]]:
        """What each line costs, by file and number; the spec's own file first."""
        found: dict[str, dict[int, Cost]] = {self.root: {}}

        def cost(place: tuple[str, int]) -> Cost:
            return found.setdefault(place[0], {}).setdefault(place[1], Cost())

        for row in self.steps():
            first, *others = (_place(origin) for origin in row.origins)
            cost(first).add(row)
            for place in others:
                if place != first:
                    cost(place).within[first] = None
        return {file: dict(sorted(costs.items())) for file, costs in found.items() if costs}

    def paths(self, depth: int) -> dict[str, Cost]:
        """What steps cost, by the first parts of their paths."""
        found: dict[str, Cost] = {}
        for row in self.steps():
            found.setdefault(".".join(row.origins[0].path.split(".")[:depth]), Cost()).add(row)
        return found

    def steps(self) -> Iterator[Row]:
        """The rows that stand for steps."""
        return (row for row in self.profile.rows if not row.added)

    def of_no_line(self) -> dict[str, Cost]:
        """What the runtime does beside the steps, by what it is."""
        found: dict[str, Cost] = {}
        for row in self.profile.rows:
            if row.added:
                found.setdefault(f"{row.op}, which ONNX Runtime added", Cost()).add(row)
        return {**found, "between operators, the profiler's own time in it": Cost(self.profile.between)}

    def sections(self) -> Iterator[Section]:
        """All that is shown."""
        if self.depth is None:
            yield from (self._source(file, costs) for file, costs in self.lines().items())
        else:
            yield Section("step", tuple((path, cost, "") for path, cost in self.paths(self.depth).items()))
        yield Section("of no line", tuple((what, cost, "") for what, cost in self.of_no_line().items()))

    def _source(self, file: str, costs: Mapping[int, Cost]) -> Section:
        places = Places(PurePath(self.root).parent)
        found: list[tuple[str, Cost | None, str]] = []
        for number, text in shown(self.sources[file], costs):
            cost = costs.get(number)
            where = [f"line {line}" if at == file else f"{places.file(at)}:{line}" for at, line in (cost.within if cost else ())]
            found.append((f"{number:>4} {text}" if number else _LEFT_OUT, cost, f"in {', '.join(where)}" if where else ""))
        return Section(places.file(file), tuple(found))


def _place(origin: Origin) -> tuple[str, int]:
    return origin.span.file, origin.span.line


def shown(text: str, costs: Mapping[int, Cost]) -> Iterator[tuple[int, str]]:
    """The lines of a text that cost something, those that they stand under, and short gaps; a longer one is the number 0."""
    lines = text.splitlines()
    wanted = {number for cost in costs for number in (cost, *_above(lines, cost))}
    last = min(wanted, default=1) - 1
    for number in sorted(wanted):
        gap = range(last + 1, number)
        yield from ((n, lines[n - 1]) for n in gap) if len(gap) <= _GAP else ((0, ""),)
        yield number, lines[number - 1]
        last = number


def _above(lines: Sequence[str], number: int) -> Iterator[int]:
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
    for section in view.sections():
        lines += [f"{_HEAD}{section.heading}", *(f"{_margin(cost, note, total)}{text}" for text, cost, note in section.lines), ""]
    everything = Cost(total)
    for row in view.profile.rows:
        everything.calls += row.calls
        everything.bytes += row.bytes
    return "\n".join(line.rstrip() for line in (*lines, f"{_margin(everything, '', total)}in all"))


def _margin(cost: Cost | None, note: str, total: float) -> str:
    if cost is None or not cost.milliseconds:
        return f"{note:>{len(_HEAD) - 2}}  "
    share = cost.milliseconds / total
    return f"{_time(cost.milliseconds):>10} {share:>7.1%} {_bar(share):10} {cost.calls or '':>6} {_bytes(cost):>8}  "


def _bar(share: float) -> str:
    """A share as up to ten blocks, in steps of an eighth."""
    full, rest = divmod(round(min(max(share, 0.0), 1.0) * 80), 8)
    return ("█" * full + _EIGHTHS[rest]).rstrip()


def _time(milliseconds: float) -> str:
    digits = 3 if milliseconds < 10 else 2 if milliseconds < 100 else 1
    return f"{milliseconds:.{digits}f} ms" if milliseconds < 1e4 else f"{milliseconds / 1e3:.2f} s"


def _bytes(cost: Cost) -> str:
    return f"{human(cost.bytes)}B" if cost.bytes else ""


def _json(view: ProfileView) -> str:
    lines = [
        {"file": file, "line": number, **asdict(cost), "within": [{"file": at, "line": line} for at, line in cost.within]}
        for file, costs in view.lines().items()
        for number, cost in costs.items()
    ]
    paths = {} if view.depth is None else {"steps": [{"path": path, **asdict(c)} for path, c in view.paths(view.depth).items()]}
    profile = {**asdict(view.profile), "between": view.profile.between}
    return json.dumps({"model": view.title, "lines": lines, **paths, **profile}, indent=1)


def _html(view: ProfileView) -> str:
    tables = []
    for section in view.sections():
        head = f'<tr><th>time<th>share<th><th>calls<th>memory<th class="s">{html.escape(section.heading)}</tr>'
        rows = (_html_row(text, cost, note, view.profile.milliseconds) for text, cost, note in section.lines)
        tables.append("\n".join(["<table>", head, *rows, "</table>"]))
    return _PAGE.format(title=html.escape(view.title), summary=html.escape(view.summary), tables="\n".join(tables))


def _html_row(text: str, cost: Cost | None, note: str, total: float) -> str:
    cells = f"<td colspan=5><i>{html.escape(note)}</i>"
    if cost is not None and cost.milliseconds:
        share = cost.milliseconds / total
        bar = f'<td class="b"><div style="width: {100 * share:.1f}%"></div>'
        cells = f"<td>{_time(cost.milliseconds)}<td>{share:.1%}{bar}<td>{cost.calls or ''}<td>{_bytes(cost)}"
    return f'<tr>{cells}<td class="s">{html.escape(text)}</tr>'
