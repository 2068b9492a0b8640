"""Linear attention's sequences in chunks: all side by side, or one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamina.compiler.builder import Builder
from lamina.compiler.chunks import CHUNK, Chunk, across, by_factors, inside
from lamina.compiler.graph import Value
from lamina.schema.dims import Dim, Size, Symbol, TensorType

_STEEP = 64.0  # an exponent whose factors stay finite in float32, with room for what they multiply


@dataclass(frozen=True, slots=True)
class Sequences:
    """What linear attention is given: q, k, v, and as far as they are given decay, beta and state; what q is multiplied by."""

    scale: float
    q: Value
    k: Value
    v: Value
    decay: Value | None = None
    beta: Value | None = None
    state: Value | None = None

    @property
    def last(self) -> TensorType:
        """The type of the state."""
        return TensorType(self.q.dtype, (*self.q.shape[:2], self.q.shape[3], self.v.shape[3]))

    def steps(self, size: Size) -> TensorType:
        """The type of so many steps of y."""
        return self.last.with_shape((*self.q.shape[:2], size, self.v.shape[3]))

    @property
    def per_channel(self) -> bool:
        return self.decay is not None and self.decay.rank == 4 and self.decay.shape[3] != 1

    def scaled(self, g: Builder, q: Value) -> Value:
        return g("Mul", q, g.scalar(self.scale, self.q))

    def start(self, g: Builder) -> Value:
        return self.state or g("Expand", g.scalar(0.0, self.q), g.shape(self.last.shape))

    def sequences(self, g: Builder) -> list[tuple[Value, TensorType]]:
        """q, k, v, decay and beta as far as they are given, all of rank 4, and the type of a step of each."""
        given = [value for value in (self.q, self.k, self.v, self.decay, self.beta) if value is not None]
        columns = [value if value.rank == 4 else g("Unsqueeze", value, g.ints(3)) for value in given]
        widths = [value.shape[3] if value.rank == 4 else 1 for value in given]
        return [(c, TensorType(self.q.dtype, (*self.q.shape[:2], width))) for c, width in zip(columns, widths, strict=True)]


def abreast(g: Builder, x: Sequences) -> tuple[Chunk, Value]:
    """All chunks, [N, heads, chunks, steps, width], and the last of the inputs (beta, where there is one) likewise."""
    short = g("Concat", g.ints(0), g("Mod", g("Neg", g.size(x.q.shape[2])), g.ints(CHUNK)), axis=0)
    parts = []
    for value, type_ in x.sequences(g):
        filled = g("Pad", value, short, None, g.ints(2))
        parts.append(g("Reshape", filled, g("Concat", g.ints(0, 0, -1, CHUNK), g.shape(type_.shape[2:]), axis=0)))
    zeros = g.constant([0.0] * CHUNK, x.q.dtype)
    return _chunk(g, x, parts if x.beta is None else parts[:-1], zeros, 5), parts[-1]


def carry(g: Builder, x: Sequences, added: Value, kept: Value | None, lost: Value | None = None) -> tuple[Value, Value]:
    """The state before each chunk, [N, heads, chunks, dk, dv], and after the last: kept * S + added - lost @ S, factors as given."""

    def step(g: Builder, state: Value, added: Value, *factors: Value) -> tuple[Value, Value]:
        following = g("Add", state if kept is None else g("Mul", state, factors[0]), added)
        return following if lost is None else g("Sub", following, g("MatMul", factors[-1], state)), g("Identity", state)

    n, heads, dk, _ = x.last.shape
    over = [(added, x.last)]
    over += [] if kept is None else [(kept, x.last.with_shape((n, heads, dk if x.per_channel else 1, 1)))]
    over += [] if lost is None else [(lost, x.last.with_shape((n, heads, dk, dk)))]
    sequences = [(g.transpose(value, 2, 0, 1, 3, 4), type_) for value, type_ in over]
    last, before = g.scan(step, [(x.start(g), x.last)], sequences, [x.last])
    return g.transpose(before, 1, 2, 0, 3, 4), last


def in_a_row(g: Builder, x: Sequences, y: Value) -> Value:
    """The steps of all chunks, without what filled up the last one."""
    y = g("Reshape", y, g("Concat", g.ints(0, 0, -1), g("Shape", y, start=4), axis=0))
    return g("Slice", y, g.ints(0), g.size(x.q.shape[2]), g.ints(2))


def in_turn(g: Builder, x: Sequences) -> tuple[Value, Value]:
    """y and the last state, a chunk after the other; the last chunk may be shorter."""
    sequences, whole, zeros = [value for value, _ in x.sequences(g)], g.ints(CHUNK), g.constant([0.0] * CHUNK, x.q.dtype)
    steps = g.size(x.q.shape[2])
    chunks = g("Squeeze", g("Div", g("Sub", steps, g.ints(1)), whole), g.ints(0))  # before the last one

    def chunk(g: Builder, place: Value, state: Value) -> tuple[Value, Value, Value]:
        end = g("Add", place, whole)
        parts = [g("Slice", value, place, end, g.ints(2)) for value in sequences]
        state, y = _read_and_write(g, x, parts, CHUNK, zeros, state)
        return end, state, y

    carried = [(g.ints(0), TensorType("int64", (1,))), (x.start(g), x.last)]
    place, state, y = g.loop(chunks, chunk, carried, [x.steps(CHUNK)])
    rest = [g("Slice", value, place, steps, g.ints(2)) for value in sequences]
    some = Dim.of(Symbol(f"last chunk of {x.q.shape[2]}", min=1, opt=CHUNK, max=CHUNK))
    state, end = _read_and_write(g, x, rest, some, g("Slice", zeros, g.ints(0), g("Sub", steps, place)), state)
    shape = g("Concat", g("Shape", end, end=2), g.ints(-1), g("Shape", end, start=3), axis=0)
    return g("Concat", g("Reshape", g.transpose(y, 1, 2, 0, 3, 4), shape), end, axis=2), state


def _read_and_write(g: Builder, x: Sequences, parts: Sequence[Value], size: Size, zeros: Value, state: Value) -> tuple[Value, Value]:
    """The state after a chunk of a size, and its y."""
    chunk = _chunk(g, x, parts, zeros, 4)
    if not x.per_channel:
        return _exactly(g, chunk, state)
    steps = g("Shape", zeros)
    y, last, steepest = by_factors(g, chunk, g("Div", steps, g.ints(2)), state)

    def exactly(g: Builder, _: Value, __: Value) -> tuple[Value, Value]:
        short = g("Concat", g.ints(0), g("Sub", g.ints(CHUNK), steps), axis=0)
        filled = [g("Pad", part, short, None, g.ints(2)) for part in parts]
        last, y = _exactly(g, _chunk(g, x, filled, zeros, 4), state)
        return last, g("Slice", y, g.ints(0), steps, g.ints(2))

    steep = g("Not", g("LessOrEqual", steepest, g.scalar(_STEEP, x.q)))  # NaN is
    last, y = g.when(steep, exactly, [(last, x.last), (y, x.steps(size))])
    return last, y


def _exactly(g: Builder, chunk: Chunk, state: Value) -> tuple[Value, Value]:
    """The state after a chunk, and its y."""
    queries, keys, kept = across(g, chunk)
    y = g("Add", inside(g, chunk), g("MatMul", queries, state))
    return g("Add", state if kept is None else g("Mul", state, kept), g("MatMul", keys, chunk.v)), y


def _chunk(g: Builder, x: Sequences, parts: Sequence[Value], zeros: Value, rank: int) -> Chunk:
    q, k, v, *decay = parts
    return Chunk(x.scaled(g, q), k, v, decay[0] if decay else None, x.per_channel, rank, zeros)
