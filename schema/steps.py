"""Tree to steps: the flow part of the language."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lamina.schema.diagnostics import Collector, Fault, did_you_mean
from lamina.schema.expressions import Expression, is_statement, parse_expression, parse_statement
from lamina.schema.spec import STRUCTURES, Branches, Call, Flow, For, If, Iterate, Map, Modules, Repeat, Residual, Scan, Statement, Step
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
        items = node.items if isinstance(node, Sequence) else (node,)
        steps = [step for step in (self._guarded(self.step, item) for item in items) if step is not None]
        formula = None if result is None else self._guarded(self._result, result)
        return Flow(span=node.span, steps=tuple(steps), result=formula)

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
            raise Fault("step", "a list is not a step", node.span, "write its steps one below the other, or put them in `residual:` or `branches:`")
        structure = next((k for k, _ in node if k.text in STRUCTURES), None)
        return self._call(node) if structure is None else self._structure(structure.text, node)

    def _text(self, node: Scalar) -> Step:
        if not isinstance(node.value, str) and node.plain:
            raise Fault("step", f"`{node.text or 'null'}` is not a step", node.span, "a step is a call, a structure or a statement")
        _check_broken(node)
        if is_statement(node.text):
            return Statement(span=node.span, assignment=parse_statement(node))
        return Call(span=node.span, callee=node)

    def _call(self, node: Mapping) -> Call:
        entries = [(k, v) for k, v in node if k.text != "name"]
        if not entries:
            raise Fault("step", "this step names nothing to call", node.span)
        (callee, value), rest = entries[0], entries[1:]
        if not callee.text.isidentifier():
            _check_broken(callee)
            hint = f'quote the whole statement: "{callee.text}: ..."'
            raise Fault("step", f"`{callee.text}` is not the name of an op, block or module: YAML split this text at `: `", callee.span, hint)
        if rest:
            raise Fault("step", f"this step has two keys, `{callee.text}` and `{rest[0][0].text}`", rest[0][0].span, _two_keys_hint(callee, rest[0][0]))
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
            raise Fault("step", f"`{owner}` needs `{key}:`", node.span, f"write `{key}:` with its steps below" if key in ("do", "then") else "")
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
            raise Fault("step", f"`merge` is `{how}`", merge.span, did_you_mean(how, ("concat", "add", "mul", "list")) or "use concat, add, mul or list")
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
            raise Fault("step", f"`{name.text}` does not belong to `{key}`", name.span, did_you_mean(name.text, required + optional))
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


def _check_broken(node: Scalar) -> None:
    """A statement that YAML broke apart has brackets that do not close."""
    text = node.text
    if not node.plain or text.count("(") + text.count("[") == text.count(")") + text.count("]"):
        return
    raise Fault("step", f"`{text}` is only a part of a statement: YAML broke it apart", node.span, "put the whole statement in quotes")

