"""Tree to steps: the flow part of the language."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lamina.schema.diagnostics import Collector, Fault, did_you_mean
from lamina.schema.expressions import Expression, is_statement, parse_expression, parse_statement
from lamina.schema.spec import (
    STRUCTURES,
    Branches,
    Broken,
    Call,
    Flow,
    For,
    If,
    Iterate,
    Map,
    Modules,
    Repeat,
    Residual,
    Scan,
    Statement,
    Step,
)
from lamina.schema.tree import Mapping, Node, Scalar, Sequence

_SIBLINGS: dict[str, tuple[str, ...]] = {
    "residual": ("skip", "name"), "branches": ("merge", "dim", "name"), "repeat": ("do", "name"), "for": ("do", "name"),
    "if": ("then", "else"), "modules": (), "scan": (), "iterate": (), "map": (),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StepReader:
    """Reads flows; what is wrong goes to the collector, and reading goes on with the next step."""

    collector: Collector

    def flow(self, node: Node, result: Node | None = None) -> Flow:
        """A list of steps (or one step) as a Flow."""
        items = self._whole(node) if isinstance(node, Sequence) else (node,)
        steps = [self._guarded(self.step, item) or Broken(span=item.span) for item in items]
        formula = None if result is None else self._guarded(self._result, result)
        return Flow(span=node.span, steps=tuple(steps), result=formula)

    def _whole(self, node: Sequence) -> tuple[Node, ...]:
        """The items of a list. Where commas in [] have cut a statement into several items, that is said, and it is put together again."""
        cut = _cut(node) if node.flow else None
        if cut is None:
            return node.items
        parts = [item.text for item in node.items[cut] if isinstance(item, Scalar)]
        text, place = ", ".join(parts), node.items[cut.start].span
        message = f"YAML broke a statement apart at its commas: it reads {' and '.join(f'`{p}`' for p in parts)} as {len(parts)} steps"
        self.collector.error("yaml", message, place, f'quote the statement: "{text}"')
        return (*node.items[: cut.start], Scalar(text, text, place, exact=False), *node.items[cut.stop :])

    def _guarded(self, read: Callable[[Any], Any], node: Node) -> Any:
        try:
            return read(node)
        except Fault as fault:
            self.collector.add(fault.at(node.span))
            return None

    def _result(self, node: Node) -> Expression:
        if isinstance(node, Sequence):
            if not all(isinstance(i, Scalar) for i in node.items):
                raise Fault("step", "`result` must be a name or a list of names", node.span)
            text = ", ".join(i.text for i in node.items if isinstance(i, Scalar))
            return parse_expression(Scalar(f"[{text}]", None, node.span, exact=False))
        return parse_expression(scalar(node, "`result`"))

    def step(self, node: Node) -> Step:
        """One step. Raises Fault."""
        if isinstance(node, Scalar):
            return self._text(node)
        if isinstance(node, Sequence):
            raise Fault(
                "step", "a list is not a step", node.span, "write its steps one below the other, or put them in `residual:` or `branches:`"
            )
        structure = next((k for k, _ in node if k.text in STRUCTURES), None)
        return self._call(node) if structure is None else self._structure(structure.text, node)

    def _text(self, node: Scalar) -> Step:
        if not node.text and node.plain:
            raise Fault("step", "this step is empty", node.span, "write a step after the `-`, or remove it")
        if not isinstance(node.value, str) and node.plain:
            raise Fault(
                "step",
                f"`{node.text}` is not a step",
                node.span,
                f"name the op that it is for, as in `linear: {node.text}`, or write `x = {node.text}`",
            )
        self._check_cut_short(node)
        if is_statement(node.text):
            return Statement(span=node.span, assignment=parse_statement(node))
        return Call(span=node.span, callee=node)

    def _check_cut_short(self, node: Scalar) -> None:
        """Brackets that do not close, before a comment: the `#` was meant to belong to the statement."""
        lines = self.collector.sources.get(node.span.file, "").splitlines()
        rest = lines[node.span.line - 1][node.span.column - 1 + len(node.text) :] if node.exact and node.span.line <= len(lines) else ""
        if node.plain and _depth(node.text) > 0 and rest.lstrip().startswith("#"):
            message = f"YAML starts a comment at ` #`, so the statement is only `{node.text}`"
            raise Fault("yaml", message, node.span, f'quote the statement: "{node.text}{rest}"')

    def _call(self, node: Mapping) -> Call:
        entries = [(k, v) for k, v in node if k.text != "name"]
        if not entries:
            raise Fault("step", "this step names nothing to call", node.span)
        (callee, value), rest = entries[0], entries[1:]
        if not callee.text.isidentifier():
            rest_of_it = value.text if isinstance(value, Scalar) else "..."
            message = f"YAML broke a statement apart at its `: `: it reads `{callee.text}` as the name of something to call"
            raise Fault("yaml", message, callee.span, f'quote the statement: "{callee.text}: {rest_of_it}"')
        if rest:
            raise Fault(
                "step",
                f"this step has two keys, `{callee.text}` and `{rest[0][0].text}`",
                rest[0][0].span,
                _two_keys_hint(callee, rest[0][0]),
            )
        named = value.entries if isinstance(value, Mapping) else ()
        empty = isinstance(value, Scalar) and value.plain and value.value is None
        first = None if isinstance(value, Mapping) or empty else value
        return Call(span=callee.span, callee=callee, first=first, named=named, name=self._name(node))

    def _name(self, node: Mapping) -> str | None:
        value = node.get("name")
        if value is None:
            return None
        text = scalar(value, "`name`").text
        if not all(part.isidentifier() or part.isdigit() for part in text.split(".")):
            raise Fault("step", f"`{text}` cannot name weights", value.span, "use letters, digits, `_`, and dots between parts")
        return text

    def _structure(self, key: str, node: Mapping) -> Step:
        for other, _ in node:
            if other.text != key and other.text not in _SIBLINGS[key]:
                known = (key, *_SIBLINGS[key])
                hint = did_you_mean(other.text, known) or f"beside `{key}` may stand: {', '.join(known[1:]) or 'nothing'}"
                raise Fault("step", f"`{other.text}` does not belong to `{key}`", other.span, hint)
        read: Callable[[Mapping], Step] = getattr(self, f"_{key}")
        return read(node)

    def _need(self, node: Mapping, key: str, owner: str) -> Node:
        value = node.get(key)
        if value is None:
            raise Fault(
                "step", f"`{owner}` needs `{key}:`", node.span, f"write `{key}:` with its steps below" if key in ("do", "then") else ""
            )
        return value

    def _residual(self, node: Mapping) -> Residual:
        skip = node.get("skip")
        body = self.flow(self._need(node, "residual", "residual"))
        return Residual(span=node.span, body=body, skip=self.flow(skip) if skip is not None else None, name=self._name(node))

    def _branches(self, node: Mapping) -> Branches:
        value = self._need(node, "branches", "branches")
        if not isinstance(value, Sequence) or not value.items:
            raise Fault("step", "`branches` needs a list of flows", value.span, "write branches: [[conv: 8], [max_pool: 3]]")
        merge, dim = node.get("merge"), node.get("dim")
        how = scalar(merge, "`merge`").text if merge is not None else "concat"
        if how not in ("concat", "add", "mul", "list"):
            assert merge is not None
            raise Fault(
                "step",
                f"`merge` must be concat, add, mul or list, but it is `{how}`",
                merge.span,
                did_you_mean(how, ("concat", "add", "mul", "list")),
            )
        if dim is not None and not (isinstance(dim, Scalar) and type(dim.value) is int):
            raise Fault("step", "`dim` must be a number", dim.span)
        axis = dim.value if isinstance(dim, Scalar) and isinstance(dim.value, int) else 1
        flows = tuple(self.flow(item) for item in value.items)
        return Branches.model_validate({"span": node.span, "flows": flows, "merge": how, "dim": axis, "name": self._name(node)})

    def _repeat(self, node: Mapping) -> Repeat:
        count = parse_expression(scalar(self._need(node, "repeat", "repeat"), "`repeat`"))
        return Repeat(span=node.span, count=count, body=self.flow(self._need(node, "do", "repeat")), name=self._name(node))

    def _for(self, node: Mapping) -> For:
        text = scalar(self._need(node, "for", "for"), "`for`")
        left, found, _ = text.text.partition(" in ")
        targets = tuple(t.strip() for t in left.split(","))
        if not found or not all(t.isidentifier() for t in targets):
            raise Fault("step", f"`for: {text.text}` is not a loop", text.span, "write `for: i in range(4)`")
        items = parse_expression(text, len(left) + 4)
        return For(span=node.span, targets=targets, items=items, body=self.flow(self._need(node, "do", "for")), name=self._name(node))

    def _if(self, node: Mapping) -> If:
        condition = parse_expression(scalar(self._need(node, "if", "if"), "`if`"))
        then, other = self._need(node, "then", "if"), node.get("else")
        return If(span=node.span, condition=condition, then=self.flow(then), otherwise=self.flow(other) if other is not None else None)

    def _modules(self, node: Mapping) -> Modules:
        return self.modules(self._need(node, "modules", "modules"))

    def modules(self, node: Node) -> Modules:
        """A `modules:` mapping. Raises Fault."""
        if not isinstance(node, Mapping):
            raise Fault("step", "`modules` must be a mapping from names to what they call", node.span, "write modules: {A: {linear: 8}}")
        return Modules(span=node.span, entries=node.entries)

    def _scan(self, node: Mapping) -> Scan:
        body = _fields(node, "scan", required=("over", "do"), optional=("values", "carry", "collect"))
        over = parse_expression(scalar(body["over"], "`over`"))
        values, carry = _formulas(body.get("values")), _formulas(body.get("carry"))
        return Scan(span=node.span, over=over, values=values, carry=carry, body=self.flow(body["do"]), collect=_names(body.get("collect")))

    def _iterate(self, node: Mapping) -> Iterate:
        body = _fields(node, "iterate", required=("carry", "do", "until", "at_most"))
        until, bound = parse_expression(scalar(body["until"], "`until`")), parse_expression(scalar(body["at_most"], "`at_most`"))
        return Iterate(span=node.span, carry=_formulas(body["carry"]), body=self.flow(body["do"]), until=until, at_most=bound)

    def _map(self, node: Mapping) -> Map:
        body = _fields(node, "map", required=("over", "values", "do", "collect"))
        over = parse_expression(scalar(body["over"], "`over`"))
        return Map(span=node.span, over=over, values=_formulas(body["values"]), body=self.flow(body["do"]), collect=_names(body["collect"]))


def scalar(node: Node, what: str) -> Scalar:
    """The node as a scalar. Raises Fault."""
    if isinstance(node, Scalar):
        return node
    raise Fault("type", f"{what} must be one value, not a {'list' if isinstance(node, Sequence) else 'mapping'}", node.span)


def _fields(node: Mapping, key: str, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Node]:
    body = node.get(key)
    if not isinstance(body, Mapping):
        raise Fault("step", f"`{key}` needs a mapping with {', '.join(required)}", node.span)
    for name, _ in body:
        if name.text not in required + optional:
            raise Fault(
                "step",
                f"`{name.text}` does not belong to `{key}`",
                name.span,
                did_you_mean(name.text, required + optional) or f"its keys are {', '.join(required + optional)}",
            )
    for name_needed in required:
        if body.get(name_needed) is None:
            raise Fault("step", f"`{key}` needs `{name_needed}:`", node.span)
    return {k.text: v for k, v in body}


def _formulas(node: Node | None) -> tuple[tuple[str, Expression], ...]:
    if node is None:
        return ()
    if not isinstance(node, Mapping):
        raise Fault("step", "this must be a mapping from names to expressions", node.span, "write {h: zeros([8])}")
    return tuple((k.text, parse_expression(scalar(v, f"`{k.text}`"))) for k, v in node)


def _names(node: Node | None) -> tuple[tuple[str, str], ...]:
    return tuple((name, formula.source.text) for name, formula in _formulas(node))


def _two_keys_hint(first: Scalar, second: Scalar) -> str:
    return f"indent `{second.text}` to make it an argument of `{first.text}`, or start a new step with `- {second.text}`"


def _cut(node: Sequence) -> slice | None:
    """The items that are parts of one statement: from a bracket that stays open to where it closes, and names before an `=`."""
    texts = [item.text if isinstance(item, Scalar) and item.plain else "" for item in node.items]
    first = next((i for i, text in enumerate(texts) if _depth(text) > 0), len(texts))
    last = next((i for i in range(first + 1, len(texts)) if _depth(", ".join(texts[first : i + 1])) == 0), None)
    if last is None:
        return None
    while first and "=" in texts[first] + texts[first - 1] and texts[first - 1].isidentifier():
        first -= 1
    return slice(first, last + 1)


def _depth(text: str) -> int:
    """How many brackets of a text stay open."""
    return sum(text.count(c) for c in "([{") - sum(text.count(c) for c in ")]}")
