"""Tree to steps: the flow part of the language."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, final

from lamina.schema import cut
from lamina.schema.diagnostics import Collector, Fault
from lamina.schema.expressions import Expression, is_statement, parse_expression, parse_statement
from lamina.schema.parts import scalar, weights_name
from lamina.schema.spec import Broken, Call, Flow, Statement, Step
from lamina.schema.structures import STRUCTURES, structure
from lamina.schema.tree import Mapping, Node, Scalar, Sequence

T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True)
class StepReader:
    """Reads flows; what is wrong goes to the collector, and reading goes on with the next step."""

    collector: Collector

    def flow(self, node: Node, result: Node | None = None) -> Flow:
        """A list of steps (or one step) as a Flow."""
        items: tuple[Node, ...] = (node,)
        if isinstance(node, Sequence):
            items, fault = cut.whole(node)
            if fault is not None:
                self.collector.add(fault.at(node.span))
        steps = [self._guarded(self.step, item) or Broken(span=item.span) for item in items]
        formula = None if result is None else self._guarded(_result, result)
        return Flow(span=node.span, steps=tuple(steps), result=formula)

    def _guarded(self, read: Callable[[Node], T], node: Node) -> T | None:
        try:
            return read(node)
        except Fault as fault:
            self.collector.add(fault.at(node.span))
            return None

    def step(self, node: Node) -> Step:
        """One step. Raises Fault."""
        if isinstance(node, Scalar):
            return self._text(node)
        if isinstance(node, Sequence):
            hint = "write its steps one below the other, or put them in `residual:` or `branches:`"
            raise Fault("step", "a list is not a step", node.span, hint)
        key = next((k.text for k, _ in node if k.text in STRUCTURES), None)
        return _call(node) if key is None else structure(key, node, self.flow)

    def _text(self, node: Scalar) -> Step:
        if not node.text and node.plain:
            raise Fault("step", "this step is empty", node.span, "write a step after the `-`, or remove it")
        if not isinstance(node.value, str) and node.plain:
            hint = f"name the op that it is for, as in `linear: {node.text}`, or write `x = {node.text}`"
            raise Fault("step", f"`{node.text}` is not a step", node.span, hint)
        if fault := cut.at_comment(node, self.collector.sources.get(node.span.file, "")):
            raise fault
        if is_statement(node.text):
            return Statement(span=node.span, assignment=parse_statement(node))
        return Call(span=node.span, callee=node)


def _result(node: Node) -> Expression:
    """`result: u`, or a list of names."""
    if not isinstance(node, Sequence):
        return parse_expression(scalar(node, "`result`"))
    if not all(isinstance(i, Scalar) for i in node.items):
        raise Fault("step", "`result` must be a name or a list of names", node.span)
    text = ", ".join(i.text for i in node.items if isinstance(i, Scalar))
    return parse_expression(Scalar(f"[{text}]", None, node.span, exact=False))


def _call(node: Mapping) -> Call:
    """`conv: {...}`, with `name:` beside it perhaps."""
    entries = [(k, v) for k, v in node if k.text != "name"]
    if not entries:
        raise Fault("step", "this step names nothing to call", node.span)
    (callee, value), rest = entries[0], entries[1:]
    if not callee.text.isidentifier():
        raise cut.at_colon(callee, value)
    if rest:
        raise _two_keys(callee, rest[0][0])
    named = value.entries if isinstance(value, Mapping) else ()
    empty = isinstance(value, Scalar) and value.plain and value.value is None
    first = None if isinstance(value, Mapping) or empty else value
    return Call(span=callee.span, callee=callee, first=first, named=named, name=weights_name(node))


def _two_keys(first: Scalar, second: Scalar) -> Fault:
    hint = f"indent `{second.text}` to make it an argument of `{first.text}`, or start a new step with `- {second.text}`"
    return Fault("step", f"this step has two keys, `{first.text}` and `{second.text}`", second.span, hint)
