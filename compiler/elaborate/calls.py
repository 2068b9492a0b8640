"""Calls: the same for ops, blocks, modules and flows. Binds arguments by the type that is due, then runs the callee."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from lamina.compiler.elaborate.convert import convert
from lamina.compiler.elaborate.values import (
    UNKNOWN,
    BlockCallee,
    Callee,
    FlowCallee,
    Frame,
    Given,
    Label,
    Module,
    OpCallee,
    Partial,
    Poisoned,
    Scope,
)
from lamina.compiler.elaborate.wants import ANYTHING, want_of_field, want_of_type
from lamina.compiler.elaborate.words import declared as type_words
from lamina.compiler.elaborate.words import expected, shown
from lamina.compiler.graph import Constant, Parameter, Value
from lamina.compiler.op import Op, OpError, Signature, signature
from lamina.schema.diagnostics import Fault, Note, Span, did_you_mean
from lamina.schema.dims import FLOATS, TensorType
from lamina.schema.spec import Argument, Block

if TYPE_CHECKING:
    from lamina.compiler.elaborate.elaborator import Elaborator

MAX_DEPTH = 100
HERE = Label("")  # no scope of its own
Seen = dict[int, Any]  # arguments evaluated ahead of binding, by identity


class Caller:
    """Makes calls for one elaborator."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.depth = 0

    def call(
        self,
        callee: Callee,
        mixed: Sequence[Given],
        arguments: Sequence[Given],
        named: dict[str, Given],
        frame: Frame,
        span: Span,
        label: Label,
    ) -> Any:
        """Call anything. `mixed` are positional inputs and then arguments; `arguments` are positional arguments only."""
        if isinstance(callee, Partial):
            return self.call(callee.callee, mixed, [*arguments, *callee.positional], {**callee.named, **named}, frame, span, label)
        if isinstance(callee, Module):
            return self._module(callee, mixed, arguments, named, frame, span)
        if not label.fixed and "name" in named and not (isinstance(callee, BlockCallee) and "name" in [a.name for a in callee.block.args]):
            named = dict(named)
            label = Label(self._literal_name(named.pop("name")))
        if isinstance(callee, OpCallee):
            return self._op(callee.op, mixed, arguments, named, span, label)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.depth = 0
            raise Fault("limit", f"`{callee.name}` calls itself more than {MAX_DEPTH} deep", span, "a recursion needs an `if` that ends it")
        try:
            if isinstance(callee, BlockCallee):
                return self._block(callee, mixed, arguments, named, span, label)
            return self._flow(callee, mixed, arguments, named, span, label)
        finally:
            self.depth = max(0, self.depth - 1)

    def _literal_name(self, given: Given) -> str:
        value = self.elaborator.resolve(given, want_of_field(_Named, "label"))
        if not isinstance(value, str) or not all(p.isidentifier() or p.isdigit() for p in value.split(".")):
            raise Fault("type", f"`name` must be a text of letters, digits, `_` and dots, not {value!r}", given.span)
        return value

    def _module(
        self, module: Module, mixed: Sequence[Given], arguments: Sequence[Given], named: dict[str, Given], frame: Frame, span: Span
    ) -> Any:
        """Every call starts from the same fresh scope, so it names, and so shares, the same weights."""
        outer, self.elaborator.scope = self.elaborator.scope, Scope(module.path, shared=True)
        try:
            inner = module.callee
            while isinstance(inner, Partial):
                arguments, named, inner = [*arguments, *inner.positional], {**inner.named, **named}, inner.callee
            if isinstance(inner, OpCallee):
                return self._op(inner.op, mixed, arguments, named, span, HERE)
            if isinstance(inner, BlockCallee):
                return self._block(inner, mixed, arguments, named, span, HERE)
            return self.call(inner, mixed, arguments, named, frame, span, HERE)
        finally:
            self.elaborator.scope = outer

    def _enter(self, label: Label) -> Scope:
        """The scope of a call: named, unnamed and so numbered, or (a module's) the current one."""
        scope = self.elaborator.scope
        if label is HERE:
            return scope
        return scope.child(label.text if label.fixed else scope.unique(label.text))

    def _flow(
        self, callee: FlowCallee, mixed: Sequence[Given], arguments: Sequence[Given], named: dict[str, Given], span: Span, label: Label
    ) -> Any:
        if len(mixed) != 1 or arguments or named:
            raise Fault("argument", "steps given as an argument take one input and no arguments", span)
        frame = callee.frame.inner(self._tolerant(mixed[0]))
        outer, self.elaborator.scope = self.elaborator.scope, self._enter(label)
        try:
            return self.elaborator.run_body(callee.flow, frame)
        finally:
            self.elaborator.scope = outer

    def _block(
        self, callee: BlockCallee, mixed: Sequence[Given], arguments: Sequence[Given], named: dict[str, Given], span: Span, label: Label
    ) -> Any:
        block = callee.block
        known = [*block.inputs, *(a.name for a in block.args)]
        named, wrong = self._known(named, known, f"the block `{block.name}`", span)
        slots = _fill([*block.inputs], [a.name for a in block.args], mixed, arguments, named, f"the block `{block.name}`", span)
        values = {k: self._tolerant(slots[k]) if k in slots else self._missing_input(block, k, span) for k in block.inputs}
        bound = Frame(callee.file, values, modules={}, globals=self.elaborator.globals_of(callee.file))
        for argument in block.args:
            if argument.name not in slots and did_you_mean(argument.name, wrong):
                bound.arguments[argument.name] = UNKNOWN  # given by a misspelt name
            else:
                bound.arguments[argument.name] = self._argument(argument, slots.get(argument.name), bound, block.name, span)
        self.elaborator.called.add(block.name)
        self.elaborator.callers.append((block.name, span))
        outer, self.elaborator.scope = self.elaborator.scope, self._enter(label)
        try:
            if block.modules is not None:
                self.elaborator.declare_modules(block.modules, bound)
            return self.elaborator.run_body(block.body, bound)
        finally:
            self.elaborator.scope = outer
            self.elaborator.callers.pop()

    def _known(self, named: dict[str, Given], known: Sequence[str], owner: str, span: Span) -> tuple[dict[str, Given], list[str]]:
        """The arguments that the callee has, and the names of those that it has not: these are reported."""
        wrong = [k for k in named if k not in known]
        for key in wrong:
            hint = did_you_mean(key, known) or (f"it takes {', '.join(known)}" if known else "it takes no arguments")
            self.elaborator.report(Fault("unknown-argument", f"{owner} has no argument `{key}`", named[key].key, hint), span)
        return {k: v for k, v in named.items() if k in known}, wrong

    def _argument(self, argument: Argument, given: Given | None, frame: Frame, block: str, span: Span) -> Any:
        declared = argument.type
        if given is None and declared.default is None and not declared.optional:
            message = f"the block `{block}` needs the argument `{argument.name}`, {type_words(declared)}"
            raise Fault("missing-argument", message, span, f"write `{block}: {{{argument.name}: ...}}`", _declared_at(argument))
        if given is None:
            return self.elaborator.default(declared, frame, argument.name)
        try:
            value = self.elaborator.resolve(given, want_of_type(declared))
            return convert(value, declared, f"`{argument.name}` of `{block}`", given.span)
        except Poisoned:
            return UNKNOWN
        except Fault as fault:
            fault.notes = (*fault.notes, *(_declared_at(argument) if fault.code == "type" else ()))
            raise

    def _missing_input(self, block: Block, key: str, span: Span) -> Any:
        notes = [Note(f"`{block.name}` is declared here, with the inputs {', '.join(block.inputs)}", block.span)]
        raise Fault(
            "missing-argument",
            f"the block `{block.name}` needs the input `{key}`",
            span,
            f"write `{block.name}({', '.join(block.inputs)})` with a value for each",
            notes,
        )

    def _tolerant(self, given: Given) -> Any:
        """An input, or UNKNOWN when it is wrong or what should have made it failed: the rest of the call is checked all the same."""
        try:
            return self.elaborator.resolve(given, ANYTHING)
        except Poisoned:
            return UNKNOWN
        except Fault as fault:
            if fault.code == "limit":
                raise
            self.elaborator.report(fault, given.span)
            return UNKNOWN

    def _op(
        self, op: type[Op], mixed: Sequence[Given], arguments: Sequence[Given], named: dict[str, Given], span: Span, label: Label
    ) -> Any:
        sign = signature(op)
        weights = weight_names(op)
        known = (*sign.inputs, *sign.arguments, *weights)
        named, wrong = self._known(named, known, f"`{op.name}`", span)
        scope = self._enter(label)
        seen: Seen = {}
        inputs, rest = self._inputs(op, sign, mixed, named, span, seen)
        # `bias` is both an argument of `conv` and a weight of it: a tensor is the weight.
        given_weights = {k for k in weights if k in named and (k not in sign.arguments or self._is_tensor(named[k], seen))}
        plain = {k: v for k, v in named.items() if k not in given_weights}
        slots = _fill([], list(sign.arguments), rest, arguments, plain, f"`{op.name}`", span)
        bound = self._bound(op, slots, wrong, span, seen)
        supplied = {k: self._once(named[k], seen) for k in weights if k in given_weights}
        if wrong or any(v is UNKNOWN for v in (*inputs, *supplied.values())):
            raise Poisoned
        return self._apply(bound, inputs, supplied, scope, span)

    def _inputs(
        self, op: type[Op], sign: Signature, mixed: Sequence[Given], named: dict[str, Given], span: Span, seen: Seen
    ) -> tuple[list[Any], list[Given]]:
        """The input values in order, and the positional arguments that are left."""
        pending = list(mixed)
        if sign.variadic:
            return self._variadic(op, sign, pending, span, seen)
        found: list[Any] = []
        for position, key in enumerate(sign.inputs):
            required = position < sign.required
            if key in named:
                found.append(self._input(op, key, named[key], seen))
            elif pending and (required or self._is_tensor(pending[0], seen)):
                found.append(self._input(op, key, pending.pop(0), seen))
            elif required:
                raise _needs_input(op, key, span)
            else:
                found.append(None)
        return found, pending

    def _variadic(self, op: type[Op], sign: Signature, pending: list[Given], span: Span, seen: Seen) -> tuple[list[Any], list[Given]]:
        found: list[Any] = []
        if pending:
            first = self._once(pending[0], seen)
            if isinstance(first, list):
                return first, pending[1:]
        while pending and self._is_tensor(pending[0], seen):
            found.append(self._input(op, sign.inputs[-1], pending.pop(0), seen))
        if not found:
            raise _needs_input(op, sign.inputs[-1], span)
        return found, pending

    def _is_tensor(self, given: Given, seen: Seen) -> bool:
        value = self._once(given, seen)
        return isinstance(value, Value) or value is UNKNOWN

    def _once(self, given: Given, seen: Seen) -> Any:
        """The value of an argument that is looked at before it is bound: evaluated one time only, since evaluating adds nodes."""
        if id(given) not in seen:
            seen[id(given)] = self._tolerant(given)
        return seen[id(given)]

    def _input(self, op: type[Op], key: str, given: Given, seen: Seen) -> Any:
        value = self._once(given, seen)
        sign = signature(op)
        optional = key in sign.inputs[sign.required :] and not sign.variadic
        if value is UNKNOWN or (value is None and optional) or isinstance(value, Value | bool | int | float):
            return value
        raise Fault("type", f"the input `{key}` of `{op.name}` must be a tensor, but it is {shown(value)}", given.span)

    def _bound(self, op: type[Op], slots: dict[str, Given], wrong: list[str], span: Span, seen: Seen) -> Op:
        """The op with its arguments. Every argument that is wrong is reported; then Poisoned is raised."""
        values = {key: self._value(op, key, given, seen) for key, given in slots.items()}
        try:
            if any(v is UNKNOWN for v in values.values()):
                raise Poisoned
            return op(**values)
        except ValidationError as error:
            for key, problems in groupby(error.errors(), lambda p: str(p["loc"][0]) if p["loc"] else ""):
                if next(problems)["type"] != "missing" or not did_you_mean(key, wrong):
                    self.elaborator.report(self._invalid(op, key, slots, values, span), span)
            raise Poisoned from error

    def _value(self, op: type[Op], key: str, given: Given, seen: Seen) -> Any:
        """An argument's value, or UNKNOWN when it is wrong (which is reported) or comes from something wrong."""
        try:
            return seen[id(given)] if id(given) in seen else self.elaborator.resolve(given, want_of_field(op, key))
        except Fault as fault:
            self.elaborator.report(fault, given.span)
        except Poisoned:
            pass
        return UNKNOWN

    def _invalid(self, op: type[Op], key: str, slots: dict[str, Given], values: dict[str, Any], span: Span) -> Fault:
        if key not in slots:
            return Fault(
                "missing-argument",
                f"`{op.name}` needs the argument `{key}`, {expected(op, key)}",
                span,
                f"write `{op.name}: {{{key}: ...}}`",
            )
        value = values[key]
        hint = (
            "write `//` to divide without a fraction"
            if isinstance(value, float) and value.is_integer() and "whole" in expected(op, key)
            else ""
        )
        choices = want_of_field(op, key).choices
        hint = did_you_mean(value, choices) if isinstance(value, str) else hint
        return Fault("type", f"`{key}` of `{op.name}` is {shown(value)}, but it must be {expected(op, key)}", slots[key].span, hint)

    def _apply(self, op: Op, inputs: list[Any], supplied: dict[str, Any], scope: Scope, span: Span) -> Any:
        tensors = [self._constant(v, inputs, op, span) for v in inputs]
        types = [t.type if t is not None else None for t in tensors]
        try:
            result = op.infer(*types)
            weights = op.parameters(*types)
        except OpError as error:
            notes = error.notes or self._input_notes(tensors)
            raise Fault(error.code, f"`{op.name}`: {error.message}", span, error.hint, notes) from error
        named = {k: self._weight(op, k, w, supplied, scope, span) for k, w in weights.items()}
        for key in supplied:
            if key not in weights:
                raise Fault("unknown-argument", f"`{op.name}` has no weight `{key}` here", span, f"it has {', '.join(weights) or 'none'}")
        return self.elaborator.emit(op, tensors, named, result, scope, span)

    def _weight(self, op: Op, key: str, weight: Any, supplied: dict[str, Any], scope: Scope, span: Span) -> Value:
        if key not in supplied:
            return self.elaborator.parameter(scope.join(key), weight, scope.shared, span)
        value = supplied[key]
        if not isinstance(value, Value) or value.type != weight.type:
            given = value.type if isinstance(value, Value) else shown(value)
            raise Fault("shape", f"`{op.name}`: the weight `{key}` must be {weight.type}, but it is {given}", span)
        return value

    def _constant(self, value: Any, inputs: list[Any], op: Op, span: Span) -> Value | None:
        """A number given as an input becomes a scalar of the other inputs' dtype."""
        if value is None or isinstance(value, Value):
            return value
        others = [v.dtype for v in inputs if isinstance(v, Value)]
        dtype = next((d for d in others if d != "bool"), None)
        if dtype is None:
            dtype = "bool" if isinstance(value, bool) else "int64" if isinstance(value, int) else "float32"
        if isinstance(value, float) and dtype not in FLOATS:
            raise Fault(
                "dtype",
                f"`{op.name}`: the number {value} and a tensor of {dtype} do not fit together",
                span,
                "convert the tensor with cast(x, 'float32')",
            )
        return self.elaborator.constant(value, dtype)

    def _input_notes(self, tensors: Sequence[Value | None]) -> list[Note]:
        notes = []
        for value in tensors:
            origin = self.elaborator.origins.get(id(value)) if value is not None else None
            if origin is not None and value is not None and not isinstance(value, Constant | Parameter):
                notes.append(Note(f"{value.type} is made here", origin.span))
        return list(dict.fromkeys(notes))  # one tensor may be several inputs


class _Named(Op):
    """Only to say that `name` is a text."""

    label: str

    def infer(self, *inputs: Any) -> TensorType:
        raise OpError("not an op")

    def define(self, g: Any, *inputs: Any, **weights: Any) -> Value:
        raise OpError("not an op")


@cache
def weight_names(op: type[Op]) -> tuple[str, ...]:
    """The weights that an op may have: what its definition takes beyond its inputs."""
    parameters = inspect.signature(op.define).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL and p.kind is not p.VAR_KEYWORD][2:]
    return tuple(n for n in names if n not in signature(op).inputs)


def _needs_input(op: type[Op], key: str, span: Span) -> Fault:
    inputs = ", ".join(signature(op).inputs)
    return Fault("missing-argument", f"`{op.name}` needs the input `{key}`", span, f"write `{op.name}({inputs})` with a value for each")


def _declared_at(argument: Argument) -> list[Note]:
    return [Note(f"`{argument.name}` is declared here", argument.span)]


def _fill(
    inputs: list[str], arguments: list[str], mixed: Sequence[Given], extra: Sequence[Given], named: dict[str, Given], owner: str, span: Span
) -> dict[str, Given]:
    """Positional values go to the inputs, then to the arguments, in declared order; named ones by name. Raises Fault."""
    free_inputs = [k for k in inputs if k not in named]
    slots = dict(zip(free_inputs, mixed, strict=False))
    left = [*mixed[len(free_inputs) :], *extra]
    for key, given in zip(arguments, left, strict=False):
        if key in named:
            raise Fault(
                "argument",
                f"{owner} is given `{key}` twice, by position and by name",
                named[key].key,
                "remove one of the two",
                [Note("here by position", given.span)],
            )
        slots[key] = given
    if len(left) > len(arguments):
        counted = f"{len(arguments)} argument{'s' if len(arguments) != 1 else ''}"
        raise Fault(
            "argument",
            f"{owner} takes {counted}, but {len(left)} are given",
            left[len(arguments)].span,
            f"its arguments are {', '.join(arguments)}" if arguments else "",
        )
    return slots | {k: v for k, v in named.items() if k in inputs or k in arguments}
