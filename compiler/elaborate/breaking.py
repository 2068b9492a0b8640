"""Where a step that is refused for a whole range fits at some sizes: the smallest at which it does not, and why it does not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lamina.compiler.elaborate.context import Context
from lamina.compiler.op import Op
from lamina.schema.diagnostics import Fault, Note
from lamina.schema.dims import Dim, Symbol, TensorType, deciding, shown, smallest

MOST_FAULTS = 20  # each search takes some milliseconds


def breaking(context: Context, op: Op, types: Sequence[TensorType | None]) -> list[Note]:
    """`H = 97 breaks this step`, at the dim's declaration. Nothing where every size breaks it, or none that was tried."""
    arguments = {name: getattr(op, name) for name in type(op).model_fields}
    symbols = frozenset(_symbols([arguments, types]))
    if not symbols or context.budget.faults >= MOST_FAULTS:
        return []

    def broken(env: Mapping[str, int]) -> bool:
        return _fault(op, arguments, types, env) is not None

    env = smallest(symbols, broken)
    if env is None or smallest(symbols, lambda other: not broken(other)) is None:
        return []
    fault = _fault(op, arguments, types, env)
    assert fault is not None
    return shown_at(context, deciding(symbols, env, broken) or env, fault.message)


def shown_at(context: Context, env: Mapping[str, int], why: str) -> list[Note]:
    """`H = 97 breaks this step`, at the dim's declaration."""
    declared = [decl.span for name in env if (decl := context.spec.dims.get(name)) is not None]
    verb = "breaks" if len(env) == 1 else "break"
    return [Note(f"{shown(env)} {verb} this step: {why}", span) for span in declared[:1]]


def _fault(op: Op, arguments: Mapping[str, Any], types: Sequence[TensorType | None], env: Mapping[str, int]) -> Fault | None:
    """Why the op refuses these sizes, if it does."""
    try:
        fixed = op.model_copy(update=_at(arguments, env))
        given = _at(types, env)
        fixed.infer(*given)
        fixed.parameters(*given)
    except Fault as fault:
        return fault
    return None


def _at(value: Any, env: Mapping[str, int]) -> Any:
    """The same with every size a number."""
    if isinstance(value, Dim):
        return value.evaluate(env)
    if isinstance(value, TensorType):
        return value.with_shape(_at(value.shape, env))
    if isinstance(value, Mapping):
        return {k: _at(v, env) for k, v in value.items()}
    return [_at(v, env) for v in value] if isinstance(value, list | tuple) else value


def _symbols(value: Any) -> Iterator[Symbol]:
    """Every dim in it."""
    if isinstance(value, Dim):
        yield from value.symbols
    elif isinstance(value, TensorType):
        yield from _symbols(value.shape)
    elif isinstance(value, Mapping):
        yield from _symbols(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _symbols(item)
