"""Indices that are known before they are computed lie within what they index, for every value of the dims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamina.compiler.elaborate.breaking import shown_at
from lamina.compiler.elaborate.context import Context
from lamina.compiler.graph import Value
from lamina.compiler.op import Op, OpError, signature
from lamina.schema.dims import Dim, Size, Symbol, compare, deciding, smallest, value_of

_HINT = "declare ranges in which every index has a place (a `max` may be what another dim leaves, as `64 - T`), or clamp the indices"


def check_indices(context: Context, op: Op, inputs: Sequence[Value | None]) -> None:
    """Raise OpError where an index is out of range at some size. Nothing is said of indices that are not known."""
    for place, (first, end) in op.indexed(*(v and v.type for v in inputs)).items():
        value, known = inputs[place], context.graph.known(inputs[place])
        if value is None or known is None or not known.attained:
            continue
        name = signature(type(op)).inputs[place]
        _check(context, f"`{name}` goes up to {known.high}, but the last place is {end - 1}", 1, known.high, end - 1, value)
        _check(context, f"`{name}` goes down to {known.low}, but the first place is {first}", -1, known.low, first, value)


def _check(context: Context, message: str, sign: int, reached: Size, limit: Size, index: Value) -> None:
    """That what the index reaches, upwards (sign 1) or downwards (-1), is not beyond the limit."""
    if compare(sign * reached, "<=", sign * limit):
        return
    symbols = frozenset[Symbol]().union(*(s.symbols for s in (reached, limit, *index.shape) if isinstance(s, Dim)))

    def beyond(env: Mapping[str, int]) -> bool:
        return sign * value_of(reached, env) > sign * value_of(limit, env) and all(value_of(size, env) > 0 for size in index.shape)

    env = smallest(symbols, beyond)
    if env is not None:
        error = OpError(message, _HINT, "value")
        why = f"it has the index {value_of(reached, env)}, and the {'last' if sign > 0 else 'first'} place is {value_of(limit, env)}"
        error.notes = tuple(shown_at(context, deciding(symbols, env, beyond), why))
        raise error
