"""Linear recurrences of matrix states in chunks: products of matrices inside a chunk, and one small step from chunk to chunk.

Inside a chunk q, k: [N, H, chunks, length, dk]; v: [N, H, chunks, length, dv]; decay (a logarithm, at most 0): [N, H, chunks, length] or
[N, H, chunks, length, dk]. A state is transposed here, [N, H, dv, dk], so that a decay of its channels is a row. Source: arXiv 2312.06635.
"""

from __future__ import annotations

from dataclasses import dataclass

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.schema.dims import TensorType

CHUNK = 64  # a power of two


@dataclass(frozen=True, slots=True)
class Chunks:
    """The inputs in chunks. `length` of a chunk is a number, or a one-element tensor where it is known at run time."""

    q: Value
    k: Value
    v: Value
    decay: Value | None
    per_channel: bool
    state: TensorType  # of a step: [N, H, dv, dk]


def recur(g: Builder, x: Chunks, state: Value) -> tuple[Value, Value]:
    """y [N, H, chunks, length, dv] and the last state. No exponent is above 0 or a difference, so that no decay gives NaN."""
    q, k, kept = x.q, x.k, None
    if x.decay is not None:
        q = g("Mul", q, _wide(g, x, g("Exp", _sum(g, x.decay))))
        k = g("Mul", k, _wide(g, x, g("Exp", _sum(g, x.decay, exclusive=1, reverse=1))))
        kept = _wide(g, x, g("Exp", g("ReduceSum", x.decay, g.ints(3), keepdims=1)))
    before, last = carry(g, x, _product(g, _flipped(g, x.v), k), kept, state)
    return g("Add", _inside(g, x), _product(g, q, _flipped(g, before))), last


def recur_by_factors(g: Builder, x: Chunks, length: Value, state: Value) -> tuple[Value, Value, Value]:
    """The same with a decay per channel as two factors, which may overflow; the third result is how large an exponent they had."""
    total = _sum(g, x.decay)
    middle = g("Gather", total, g("Div", length, g.ints(2)), axis=3)
    exponent = g("Sub", total, middle)
    factor = g("Exp", exponent)
    q, k = g("Mul", x.q, factor), g("Div", x.k, factor)
    first, final = g("Gather", exponent, g.ints(0), axis=3), g("Gather", exponent, g.ints(-1), axis=3)
    added = g("Mul", _product(g, _flipped(g, x.v), k), g("Exp", final))
    before, last = carry(g, x, added, g("Exp", g("Gather", total, g.ints(-1), axis=3)), state)
    scores = g("Trilu", _product(g, q, _flipped(g, k)), upper=0)
    y = g("Add", _product(g, scores, x.v), _product(g, q, _flipped(g, g("Mul", before, g("Exp", middle)))))
    return y, last, g("ReduceMax", g("Max", g("Abs", first), g("Abs", final)), keepdims=0)


def carry(g: Builder, x: Chunks, added: Value, kept: Value | None, state: Value) -> tuple[Value, Value]:
    """The state before each chunk, [N, H, chunks, dv, dk], and the one after the last: state * kept + added."""

    def step(g: Builder, state: Value, added: Value, kept: Value | None = None) -> tuple[Value, Value]:
        return g("Add", state if kept is None else g("Mul", state, kept), added), g("Identity", state)

    over = [(g.transpose(added, 2, 0, 1, 3, 4), x.state)]
    if kept is not None:
        n, h, _, dk = x.state.shape
        over.append((g.transpose(kept, 2, 0, 1, 3, 4), x.state.with_shape((n, h, 1, dk if x.per_channel else 1))))
    last, before = g.scan(step, [(state, x.state)], over, [x.state])
    return g.transpose(before, 1, 2, 0, 3, 4), last


def _inside(g: Builder, x: Chunks) -> Value:
    """What each step reads of its own chunk."""
    if x.per_channel:
        return _by_halves(g, x)
    scores = _product(g, x.q, _flipped(g, x.k))
    if x.decay is not None:
        steps = g("Expand", _wide(g, x, x.decay), g("Shape", scores))
        between = g("CumSum", g("Trilu", steps, g.constant(-1, "int64"), upper=0), g.constant(3, "int64"))
        scores = g("Mul", scores, g("Exp", between))
    return _product(g, g("Trilu", scores, upper=0), x.v)


def _by_halves(g: Builder, x: Chunks) -> Value:
    """Pairs of neighbours, then of pairs, and so on: the later half of each reads the earlier one, with their border as reference."""
    y = g("Mul", g("ReduceSum", g("Mul", x.q, x.k), g.ints(-1), keepdims=1), x.v)
    shape = g("Shape", y)
    half = 1
    while half < CHUNK:
        split = g("Concat", g("Shape", x.v, end=2), g.ints(-1, 2, half), axis=0)

        def part(value: Value, place: int, split: Value = split) -> Value:
            whole = g("Reshape", value, g("Concat", split, g("Shape", value, start=4), axis=0))
            return g("Gather", whole, g.constant(place, "int64"), axis=3)

        assert x.decay is not None
        q = g("Mul", part(x.q, 1), g("Exp", _sum(g, part(x.decay, 1))))
        k = g("Mul", part(x.k, 0), g("Exp", _sum(g, part(x.decay, 0), exclusive=1, reverse=1)))
        read = _product(g, _product(g, q, _flipped(g, k)), part(x.v, 0))
        both = g("Pad", g("Unsqueeze", read, g.ints(3)), g.ints(1, 0), None, g.ints(3))
        y = g("Add", y, g("Reshape", both, shape))
        half *= 2
    return y


def _sum(g: Builder, decay: Value | None, exclusive: int = 0, reverse: int = 0) -> Value:
    return g("CumSum", decay, g.constant(3, "int64"), exclusive=exclusive, reverse=reverse)


def _wide(g: Builder, x: Chunks, decay: Value) -> Value:
    return decay if x.per_channel else g("Unsqueeze", decay, g.ints(4))


def _product(g: Builder, a: Value, b: Value) -> Value:
    return g("MatMul", a, b)


def _flipped(g: Builder, x: Value) -> Value:
    return g.transpose(x, 0, 1, 2, 4, 3)
