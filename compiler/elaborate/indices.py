"""Indices that are known before they are computed lie within what they index, for every value of the dims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lamina.compiler.elaborate.breaking import shown_at
from lamina.compiler.elaborate.context import Context
from lamina.compiler.graph import Value
from lamina.compiler.op import Op, OpError, signature
from lamina.schema.dims import Dim, Size, Symbol, compare, deciding, smallest, value_of

_HINT = "give the dims ranges in which every index has a place, or clamp the indices"


def check_indices(context: Context, op: Op, inputs: Sequence[Value | None]) -> None:
    """Raise OpError where an index is out of range at some size. Nothing is said of indices that are not known."""
    for place, (first, end) in op.indexed(*(v and v.type for v in inputs)).items():
        value, known = inputs[place], context.graph.known(inputs[place])
        if value is None or known is None or not known.attained:
            continue
        name = signature(type(op)).inputs[place]
        _check(context, f"`{name}` goes up to {known.high}, but the last place is {end - 1}", known.high, end - 1, value)
        _check(context, f"`{name}` goes down to {known.low}, but the first place is {first}", -known.low, -first, value)


def _check(context: Context, message: str, reached: Size, most: Size, index: Value) -> None:
    if compare(reached, "<=", most):
        return
    symbols = frozenset[Symbol]().union(*(s.symbols for s in (reached, most, *index.shape) if isinstance(s, Dim)))

    def beyond(env: Mapping[str, int]) -> bool:
        return value_of(reached, env) > value_of(most, env) and all(value_of(size, env) > 0 for size in index.shape)

    env = smallest(symbols, beyond)
    if env is not None:
        named = deciding(symbols, env, beyond)
        error = OpError(message, _HINT, "value")
        error.notes = tuple(shown_at(context, named, f"{value_of(reached, env)} against {value_of(most, env)}"))
        raise error
