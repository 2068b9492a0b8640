"""Linear recurrences of matrix states by chunks of steps: S' = exp(decay) * S + k.T @ v as products of matrices.

q, k: [..., steps, dk]; v: [..., steps, dv]; decay, a logarithm: [..., steps, 1] or [..., steps, dk]; a state: [..., dk, dv].
No exponent here is a difference of sums, except in `by_factors`: no decay of at most 0 gives NaN. Source: arXiv 2312.06635, 2405.21060.
"""

from __future__ import annotations

from dataclasses import dataclass

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value

CHUNK = 64  # steps; a power of two


@dataclass(frozen=True, slots=True)
class Chunk:
    """Steps of one chunk, or of several side by side. `rank` is that of all values; `zeros`: [steps]."""

    q: Value
    k: Value
    v: Value
    decay: Value | None
    per_channel: bool
    rank: int
    zeros: Value


def inside(g: Builder, x: Chunk) -> Value:
    """What each step reads of its own chunk, itself included: [..., steps, dv]."""
    return _by_halves(g, x) if x.per_channel else g("MatMul", g("Trilu", _scores(g, x, x.q), upper=0), x.v)


def _scores(g: Builder, x: Chunk, rows: Value) -> Value:
    """Products of rows with k, each decayed by what lies between; where k comes later it is not."""
    scores = g("MatMul", rows, _flipped(g, x.k, x.rank))
    if x.decay is None:
        return scores
    later = g("Trilu", g("Add", x.decay, x.zeros), g.constant(-1, "int64"), upper=0)
    return g("Mul", scores, g("Exp", _sum(g, later)))


def across(g: Builder, x: Chunk) -> tuple[Value, Value, Value | None]:
    """Three factors: y = inside + queries @ S, and after the chunk S' = kept * S + keys @ v (None keeps S as it is)."""
    q, k, kept = x.q, x.k, None
    if x.decay is not None:
        q = g("Mul", q, g("Exp", _sum(g, x.decay)))
        k = g("Mul", k, g("Exp", _sum(g, x.decay, exclusive=1, reverse=1)))
        kept = _flipped(g, g("Exp", g("ReduceSum", x.decay, g.ints(-2), keepdims=1)), x.rank)
    return q, _flipped(g, k, x.rank), kept


def corrected(g: Builder, x: Chunk, beta: Value) -> tuple[Value, Value]:
    """What the delta rule writes in place of v: own - known @ S. Each step's depends on those before it: a triangular system (PyTorch's).

    beta: [..., steps, 1]; decays are of heads, not of channels. Source: arXiv 2406.06484, 2412.06464.
    """
    before = g("Trilu", g("Mul", _scores(g, x, x.k), beta), g.constant(-1, "int64"), upper=0)
    k = x.k if x.decay is None else g("Mul", x.k, g("Exp", _sum(g, x.decay)))
    own, known = (
        g.torch("linalg.solve_triangular", before, g("Mul", part, beta), upper=False, left=True, unitriangular=True) for part in (x.v, k)
    )
    return own, known


def by_factors(g: Builder, x: Chunk, middle: Value, state: Value) -> tuple[Value, Value, Value]:
    """y, the next state, and the largest exponent of the factors that a decay of channels becomes: they overflow where it is large."""
    total = _sum(g, x.decay)
    border = g("Gather", total, middle, axis=x.rank - 2)
    exponent = g("Sub", total, border)
    factor = g("Exp", exponent)
    q, k = g("Mul", x.q, factor), g("Div", x.k, factor)
    scores = g("Trilu", g("MatMul", q, _flipped(g, k, x.rank)), upper=0)
    moved = g("Mul", state, _flipped(g, g("Exp", border), x.rank))
    y = g("Add", g("MatMul", scores, x.v), g("MatMul", q, moved))
    first, last = g("Gather", exponent, g.ints(0), axis=x.rank - 2), g("Gather", exponent, g.ints(-1), axis=x.rank - 2)
    state = g("Mul", g("Add", moved, g("MatMul", _flipped(g, k, x.rank), x.v)), _flipped(g, g("Exp", last), x.rank))
    return y, state, g("ReduceMax", g("Max", g("Abs", first), g("Abs", last)), keepdims=0)


def _by_halves(g: Builder, x: Chunk) -> Value:
    """Pairs of neighbours, then of pairs, and so on: the later half of each reads the earlier one, and decays are summed from their border.

    The number of steps must be `CHUNK`.
    """
    y = g("Mul", g("ReduceSum", g("Mul", x.q, x.k), g.ints(-1), keepdims=1), x.v)
    shape, axis = g("Shape", y), x.rank - 2
    for half in (1 << i for i in range(CHUNK.bit_length() - 1)):
        halves = g("Concat", g("Shape", y, end=axis), g.ints(-1, 2, half), axis=0)
        q, k, v, early, late = (
            _half(g, value, halves, axis, i) for value, i in zip((x.q, x.k, x.v, x.decay, x.decay), _PLACES, strict=True)
        )
        q = g("Mul", q, g("Exp", _sum(g, late)))
        k = g("Mul", k, g("Exp", _sum(g, early, exclusive=1, reverse=1)))
        read = g("Unsqueeze", g("MatMul", g("MatMul", q, _flipped(g, k, x.rank + 1)), v), g.ints(axis + 1))
        y = g("Add", y, g("Reshape", g("Pad", read, g.ints(1, 0), None, g.ints(axis + 1)), shape))
    return y


_PLACES = (1, 0, 0, 0, 1)  # which half: of q, k, v, and the decay of either


def _half(g: Builder, value: Value | None, halves: Value, axis: int, place: int) -> Value:
    whole = g("Reshape", value, g("Concat", halves, g("Shape", value, start=axis + 1), axis=0))
    return g("Gather", whole, g.constant(place, "int64"), axis=axis + 1)


def _sum(g: Builder, decay: Value | None, exclusive: int = 0, reverse: int = 0) -> Value:
    """Over steps, of any rank."""
    return g("CumSum", decay, g.constant(-2, "int64"), exclusive=exclusive, reverse=reverse)


def _flipped(g: Builder, x: Value, rank: int) -> Value:
    return g.transpose(x, *range(rank - 2), rank - 1, rank - 2)
