from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.chunks import CHUNK, Chunk, across, by_factors, corrected, inside
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, Types, fast_path, need_fixed, need_float, need_rank
from lamina.schema.dims import Dim, Size, Symbol, TensorType, bounds, product

_SHORT = 2 * CHUNK  # steps
_CACHED = 8192  # numbers of a head's state that stay in a core's first cache
_STEEP = 64.0  # an exponent whose factors stay finite in float32, with room for what they multiply


class LinearAttention(Op):
    """S[t] = exp(decay[t]) * S[t-1] + k[t].T @ v[t]; y[t] = scale * q[t] @ S[t], for every head. The last S is a second result.

    With beta, the delta rule: S[t] = R + k[t].T @ (beta[t] * (v[t] - k[t] @ R)) where R = exp(decay[t]) * S[t-1].
    q, k: float [N, heads, T, dk]; v, y: [N, heads, T, dv]; state, the S before the first step (zeros unless given), and the last S:
    [N, heads, dk, dv]. decay is a logarithm, at most 0: [N, heads, T] (or [N, heads, T, 1]), or one for each channel of k,
    [N, heads, T, dk]. beta: [N, heads, T]. `scale` is 1 / sqrt(dk) unless given.
    Source: ONNX LinearAttention-27 (its rules linear, gated, delta, gated_delta), arXiv 2312.06635, 2412.06464.
    """

    name = "linear_attention"
    scale: float | None = None
    examples = (
        Example({}, ["float32[b, 2, t, 4]", "float32[b, 2, t, 4]", "float32[b, 2, t, 3]"]),
        Example({"scale": 1.0}, [*["float32[b, 2, t, 4]"] * 3, "float32[b, 2, t]", "", "float32[b, 2, 4, 4]"], values="unit"),
        Example({}, ["float32[1, 2, t, 4]"] * 4, values="unit"),
        Example({}, [*["float32[b, 2, t, 4]"] * 4, "", "float32[b, 2, 4, 4]"], values="unit"),
        Example({}, [*["float32[b, 1, t, 4]"] * 3, "", "float32[b, 1, t]"], values="unit"),
        Example({}, [*["float32[b, 3, t, 4]"] * 3, "float32[b, 3, t, 1]", "float32[b, 3, t]", "float32[b, 3, 4, 4]"], values="unit"),
        Example({}, [*["float32[b, 3, 1, 4]"] * 3, "float32[b, 3, 1]", "", "float32[b, 3, 4, 4]"], values="unit"),
    )

    def infer(
        self,
        q: TensorType,
        k: TensorType,
        v: TensorType,
        decay: TensorType | None = None,
        beta: TensorType | None = None,
        state: TensorType | None = None,
    ) -> tuple[TensorType, TensorType]:
        need_rank(q, 4, "q (batch, heads, length, width)")
        need_float(q, "q")
        need_rank(v, 4, "v (batch, heads, length, width)")
        rows, dk, dv = q.shape[:3], q.shape[3], v.shape[3]
        last = q.with_shape((*rows[:2], dk, dv))
        if self.scale is None:
            need_fixed(dk, f"the width of a head, dim 3 of q {q},")
        _need("k", k, q)
        _need("v", v, q.with_shape((*rows, dv)))
        _need("decay", decay, q.with_shape(rows), q.with_shape((*rows, 1)), q)
        _need("beta", beta, q.with_shape(rows))
        _need("state", state, last)
        return q.with_shape((*rows, dv)), last

    def define(self, g: Builder, *inputs: Value) -> tuple[Value, Value]:
        x = _Inputs(*inputs)

        def step(g: Builder, state: Value, *slices: Value) -> tuple[Value, Value]:
            return self._step(g, x, state, *slices)

        over = [(g.transpose(value, 2, 0, 1, 3), type_) for value, type_ in x.sequences(g)]
        last, y = g.scan(step, [(x.start(g), x.last)], over, [x.last.with_shape((*x.last.shape[:2], x.last.shape[3]))])
        return g.transpose(y, 1, 2, 0, 3), last

    def _step(self, g: Builder, x: _Inputs, state: Value, q: Value, k: Value, v: Value, *rest: Value) -> tuple[Value, Value]:
        """One step, of inputs without a dim of time."""
        if x.decay is not None:
            state = g("Mul", state, g("Unsqueeze", g("Exp", rest[0]), g.ints(3)))
        v = g("Unsqueeze", v, g.ints(2))
        if x.beta is not None:
            known = g("MatMul", g("Unsqueeze", k, g.ints(2)), state)
            v = g("Mul", g("Sub", v, known), g("Unsqueeze", rest[-1], g.ints(2)))
        state = g("Add", state, g("Mul", g("Unsqueeze", k, g.ints(3)), v))
        row = g("Unsqueeze", g("Mul", q, g.scalar(self._scale(x), x.q)), g.ints(2))
        return state, g("Squeeze", g("MatMul", row, state), g.ints(2))

    def _scale(self, x: _Inputs) -> float:
        return 1 / math.sqrt(need_fixed(x.q.shape[3], "dk")) if self.scale is None else self.scale

    @fast_path("onnxruntime")
    def kernel(self, g: Builder, *inputs: Value) -> Any:
        """ONNX Runtime's own, each head as a sample: for the delta rule, few steps, and states that stay in a core's cache."""
        x = _Inputs(*inputs)
        large = bounds(x.q.shape[2])[1] > _SHORT and bounds(x.q.shape[3] * x.v.shape[3])[1] > _CACHED
        if x.q.dtype != "float32" or (large and x.beta is None):
            return NotImplemented

        steps = x.q.shape[2]
        q, k, v, *rest = (g("Reshape", value, g.shape([-1, steps, type_.shape[-1]])) for value, type_ in x.sequences(g))
        decay, beta = rest[0] if x.decay is not None else None, rest[-1] if x.beta is not None else None
        rule = ("linear" if beta is None else "delta") if decay is None else "gated" if beta is None else "gated_delta"
        start = None if x.state is None else g("Reshape", x.state, g.shape([-1, 1, *x.last.shape[2:]]))
        attributes: dict[str, Any] = {"q_num_heads": 1, "kv_num_heads": 1, "update_rule": rule, "scale": self._scale(x)}
        y, last = g("LinearAttention", q, k, v, start, decay, beta, outputs=2, domain="com.microsoft", **attributes)
        return g("Reshape", y, g.shape(x.steps(steps).shape)), g("Reshape", last, g.shape(x.last.shape))

    @fast_path("onnx", "onnxruntime", "tensorrt", "torch")
    def one_step(self, g: Builder, *inputs: Value) -> Any:
        """No loop where there is one step."""
        x = _Inputs(*inputs)
        if x.q.shape[2] != 1:
            return NotImplemented
        last, y = self._step(g, x, x.start(g), *(g("Squeeze", value, g.ints(2)) for value, _ in x.sequences(g)))
        return g("Unsqueeze", y, g.ints(2)), last

    @fast_path("onnxruntime")
    def by_chunks(self, g: Builder, *inputs: Value) -> Any:
        """A chunk after the other, whose values stay in the cache; the last one may be shorter."""
        x = _Inputs(*inputs)
        if x.beta is not None or x.q.dtype != "float32":
            return NotImplemented
        sequences, whole, zeros = [value for value, _ in x.sequences(g)], g.ints(CHUNK), g.constant([0.0] * CHUNK, x.q.dtype)
        steps = g.size(x.q.shape[2])
        chunks = g("Squeeze", g("Div", g("Sub", steps, g.ints(1)), whole), g.ints(0))  # before the last one

        def chunk(g: Builder, place: Value, state: Value) -> tuple[Value, Value, Value]:
            end = g("Add", place, whole)
            parts = [g("Slice", value, place, end, g.ints(2)) for value in sequences]
            state, y = self._chunk(g, x, parts, CHUNK, zeros, state)
            return end, state, y

        carried = [(g.ints(0), TensorType("int64", (1,))), (x.start(g), x.last)]
        place, state, y = g.loop(chunks, chunk, carried, [x.steps(CHUNK)])
        rest = [g("Slice", value, place, steps, g.ints(2)) for value in sequences]
        some = Dim.of(Symbol("last chunk", min=1, opt=CHUNK, max=CHUNK))
        state, end = self._chunk(g, x, rest, some, g("Slice", zeros, g.ints(0), g("Sub", steps, place)), state)
        shape = g("Concat", g("Shape", end, end=2), g.ints(-1), g("Shape", end, start=3), axis=0)
        return g("Concat", g("Reshape", g.transpose(y, 1, 2, 0, 3, 4), shape), end, axis=2), state

    def _chunk(self, g: Builder, x: _Inputs, parts: Sequence[Value], size: Size, zeros: Value, state: Value) -> tuple[Value, Value]:
        """The state after a chunk of a size, and its y."""
        chunk = self._steps(g, x, parts, zeros, 4)
        if not x.per_channel:
            return _read(g, chunk, state)
        steps = g("Shape", zeros)
        y, last, steepest = by_factors(g, chunk, g("Div", steps, g.ints(2)), state)

        def exactly(g: Builder, _: Value, __: Value) -> tuple[Value, Value]:
            short = g("Concat", g.ints(0), g("Sub", g.ints(CHUNK), steps), axis=0)
            filled = [g("Pad", part, short, None, g.ints(2)) for part in parts]
            last, y = _read(g, self._steps(g, x, filled, zeros, 4), state)
            return last, g("Slice", y, g.ints(0), steps, g.ints(2))

        steep = g("Not", g("LessOrEqual", steepest, g.scalar(_STEEP, x.q)))  # NaN is
        last, y = g.when(steep, exactly, [(last, x.last), (y, x.steps(size))])
        return last, y

    def _steps(self, g: Builder, x: _Inputs, parts: Sequence[Value], zeros: Value, rank: int) -> Chunk:
        q, k, v, *decay = parts
        return Chunk(g("Mul", q, g.scalar(self._scale(x), x.q)), k, v, decay[0] if decay else None, x.per_channel, rank, zeros)

    @fast_path("onnx", "tensorrt", "module")
    def side_by_side(self, g: Builder, *inputs: Value) -> Any:
        """All chunks at once, zeros at the end; a loop of as many passes as there are chunks carries the state through them."""
        x = _Inputs(*inputs)
        if x.beta is not None or x.q.dtype not in ("float32", "float64"):
            return NotImplemented
        chunks, _ = self._abreast(g, x)
        queries, keys, kept = across(g, chunks)
        before, state = self._carry(g, x, g("MatMul", keys, chunks.v), kept)
        return _in_a_row(g, x, g("Add", inside(g, chunks), g("MatMul", queries, before))), state

    @fast_path("module")
    def delta_side_by_side(self, g: Builder, *inputs: Value) -> Any:
        """The same for the delta rule, with a triangular system in each chunk."""
        x = _Inputs(*inputs)
        if x.beta is None or x.per_channel or x.q.dtype not in ("float32", "float64"):
            return NotImplemented
        chunks, beta = self._abreast(g, x)
        queries, keys, kept = across(g, chunks)
        own, known = corrected(g, chunks, beta)
        before, state = self._carry(g, x, g("MatMul", keys, own), kept, g("MatMul", keys, known))
        written = replace(chunks, v=g("Sub", own, g("MatMul", known, before)))
        return _in_a_row(g, x, g("Add", inside(g, written), g("MatMul", queries, before))), state

    def _abreast(self, g: Builder, x: _Inputs) -> tuple[Chunk, Value]:
        """All chunks, [N, heads, chunks, steps, width], and the last of the inputs (beta, where there is one) likewise."""
        short = g("Concat", g.ints(0), g("Mod", g("Neg", g.size(x.q.shape[2])), g.ints(CHUNK)), axis=0)
        parts = []
        for value, type_ in x.sequences(g):
            filled = g("Pad", value, short, None, g.ints(2))
            parts.append(g("Reshape", filled, g("Concat", g.ints(0, 0, -1, CHUNK), g.shape(type_.shape[2:]), axis=0)))
        zeros = g.constant([0.0] * CHUNK, x.q.dtype)
        return self._steps(g, x, parts if x.beta is None else parts[:-1], zeros, 5), parts[-1]

    def _carry(self, g: Builder, x: _Inputs, added: Value, kept: Value | None, lost: Value | None = None) -> tuple[Value, Value]:
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

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        q, _, v, *rest = inputs
        total: Size = product(q.shape) * v.shape[3] * (3 if len(rest) > 1 and rest[1] is not None else 2)
        return total


@dataclass(frozen=True, slots=True)
class _Inputs:
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

    def start(self, g: Builder) -> Value:
        return self.state or g("Expand", g.scalar(0.0, self.q), g.shape(self.last.shape))

    def sequences(self, g: Builder) -> list[tuple[Value, TensorType]]:
        """q, k, v, decay and beta as far as they are given, all of rank 4, and the type of a step of each."""
        given = [value for value in (self.q, self.k, self.v, self.decay, self.beta) if value is not None]
        columns = [value if value.rank == 4 else g("Unsqueeze", value, g.ints(3)) for value in given]
        widths = [value.shape[3] if value.rank == 4 else 1 for value in given]
        return [(c, TensorType(self.q.dtype, (*self.q.shape[:2], width))) for c, width in zip(columns, widths, strict=True)]


def _in_a_row(g: Builder, x: _Inputs, y: Value) -> Value:
    """The steps of all chunks, without what filled up the last one."""
    y = g("Reshape", y, g("Concat", g.ints(0, 0, -1), g("Shape", y, start=4), axis=0))
    return g("Slice", y, g.ints(0), g.size(x.q.shape[2]), g.ints(2))


def _read(g: Builder, chunk: Chunk, state: Value) -> tuple[Value, Value]:
    """The state after a chunk, and its y."""
    queries, keys, kept = across(g, chunk)
    y = g("Add", inside(g, chunk), g("MatMul", queries, state))
    return g("Add", state if kept is None else g("Mul", state, kept), g("MatMul", keys, chunk.v)), y


def _need(what: str, x: TensorType | None, *types: TensorType) -> None:
    if x is not None and x not in types:
        wanted = " or ".join(map(str, types))
        raise OpError(f"{what} must be {wanted}, but it is {x}", code="dtype" if x.shape in [t.shape for t in types] else "shape")
