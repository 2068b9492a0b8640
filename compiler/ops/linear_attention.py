from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.chunks import CHUNK, Chunks, recur, recur_by_factors
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, Types, fast_path, need_fixed, need_float, need_rank
from lamina.schema.dims import Dim, Size, Symbol, TensorType, product

_BLOCK = 512  # rows that ONNX Runtime works on at once: few operators for many rows, whose values stay in its cache
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

    def define(self, g: Builder, *inputs: Value | None) -> tuple[Value, Value]:
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
        row = g("Unsqueeze", g("Mul", q, self._scale(g, x)), g.ints(2))
        return state, g("Squeeze", g("MatMul", row, state), g.ints(2))

    def _scale(self, g: Builder, x: _Inputs) -> Value:
        return g.scalar(1 / math.sqrt(need_fixed(x.q.shape[3], "dk")) if self.scale is None else self.scale, x.q)

    @fast_path("onnx", "onnxruntime", "tensorrt", "torch")
    def one_step(self, g: Builder, *inputs: Value | None) -> Any:
        """No loop where there is one step."""
        x = _Inputs(*inputs)
        if x.q.shape[2] != 1:
            return NotImplemented
        last, y = self._step(g, x, x.start(g), *(g("Squeeze", value, g.ints(2)) for value, _ in x.sequences(g)))
        return g("Unsqueeze", y, g.ints(2)), last

    @fast_path("onnxruntime")
    def in_blocks(self, g: Builder, *inputs: Value | None) -> Any:
        """In chunks, a block of them after the other: copies stay in the cache, and what is left over is no longer than it must be."""
        x = _Inputs(*inputs)
        if x.beta is not None or x.q.dtype != "float32":
            return NotImplemented
        rows, whole = g.size(x.q.shape[2]), g.ints(_BLOCK)
        blocks = g("Squeeze", g("Div", g("Sub", rows, g.ints(1)), whole), g.ints(0))  # the last one is not among them

        def block(g: Builder, place: Value, state: Value) -> tuple[Value, Value, Value]:
            end = g("Add", place, whole)
            state, y = self._block(g, x, [g("Slice", v, place, end, g.ints(2)) for v in x.values()], None, state)
            return end, state, y

        carried = [(g.ints(0), TensorType("int64", (1,))), (g.transpose(x.start(g), 0, 1, 3, 2), x.flipped)]
        place, state, y = g.loop(blocks, block, carried, [x.rows(_BLOCK)])
        rest = [g("Slice", v, place, rows, g.ints(2)) for v in x.values()]
        state, end = self._block(g, x, rest, g("Sub", rows, place), state)
        shape = g("Concat", g("Shape", end, end=2), g.ints(-1), g("Shape", end, start=3), axis=0)
        y = g("Concat", g("Reshape", g.transpose(y, 1, 2, 0, 3, 4), shape), end, axis=2)
        return y, g.transpose(state, 0, 1, 3, 2)

    def _block(self, g: Builder, x: _Inputs, parts: Sequence[Value], rows: Value | None, state: Value) -> tuple[Value, Value]:
        """The state after a block of so many rows (None: a whole one) and its y."""
        length = g.ints(CHUNK) if rows is None else g("Min", rows, g.ints(CHUNK))
        if not x.per_channel:
            return self._joined(g, recur(g, self._chunks(g, x, parts, length, rows), state), rows)
        y, last, steepest = recur_by_factors(g, self._chunks(g, x, parts, length, rows), length, state)
        last, y = self._joined(g, (y, last), rows)

        def exact(g: Builder, _: Value, __: Value) -> tuple[Value, Value]:
            return self._joined(g, recur(g, self._chunks(g, x, parts, g.ints(CHUNK), rows), state), rows)

        size: Size = _BLOCK if rows is None else Dim.of(Symbol("rest", min=1, opt=_BLOCK, max=_BLOCK))
        steep = g("Not", g("LessOrEqual", steepest, g.constant(_STEEP, "float32")))
        last, y = g.when(steep, exact, [(last, x.flipped), (y, x.rows(size))])
        return last, y

    def _chunks(self, g: Builder, x: _Inputs, parts: Sequence[Value], length: Value, rows: Value | None) -> Chunks:
        """Rows in chunks of a length. Zeros fill up the last one: they leave the state as it is."""

        def chunked(value: Value, rank: int) -> Value:
            if rows is not None:
                short = g("Mod", g("Neg", rows), length)
                value = g("Pad", value, g("Concat", g.ints(0), short, axis=0), None, g.ints(2))
            after = [g("Shape", value, start=3)] if rank == 4 else []
            return g("Reshape", value, g("Concat", g.ints(0, 0, -1), length, *after, axis=0))

        q, k, v, *decay = (chunked(part, value.rank) for part, value in zip(parts, x.values(), strict=True))
        return Chunks(g("Mul", q, self._scale(g, x)), k, v, decay[0] if decay else None, x.per_channel, x.flipped)

    @staticmethod
    def _joined(g: Builder, found: tuple[Value, Value], rows: Value | None) -> tuple[Value, Value]:
        """The state, and the rows of chunks one after the other."""
        y, state = found
        y = g("Reshape", y, g("Concat", g.ints(0, 0, -1), g("Shape", y, start=4), axis=0))
        return state, y if rows is None else g("Slice", y, g.ints(0), rows, g.ints(2))

    @fast_path("torch", "tensorrt", "onnx")
    def in_chunks(self, g: Builder, *inputs: Value | None) -> Any:
        """All chunks at once: a loop of as many steps as there are chunks carries the state through them."""
        x = _Inputs(*inputs)
        if x.beta is not None or x.q.dtype not in ("float32", "float64"):
            return NotImplemented
        rows = None if x.q.shape[2] % CHUNK == 0 else g.size(x.q.shape[2])
        chunks = self._chunks(g, x, x.values(), g.ints(CHUNK), rows)
        state, y = self._joined(g, recur(g, chunks, g.transpose(x.start(g), 0, 1, 3, 2)), rows)
        return y, g.transpose(state, 0, 1, 3, 2)

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        q, _, v, _, beta, _ = (*inputs, *[None] * (6 - len(inputs)))
        total: Size = product(q.shape) * v.shape[3] * (2 if beta is None else 3)
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

    @property
    def flipped(self) -> TensorType:
        """The type of the state as chunks have it."""
        n, heads, dk, dv = self.last.shape
        return self.last.with_shape((n, heads, dv, dk))

    def rows(self, size: Size) -> TensorType:
        """The type of so many rows of y."""
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

    def values(self) -> list[Value]:
        return [value for value in (self.q, self.k, self.v, self.decay) if value is not None]


def _need(what: str, x: TensorType | None, *types: TensorType) -> None:
    if x is not None and x not in types:
        wanted = " or ".join(map(str, types))
        raise OpError(f"{what} must be {wanted}, but it is {x}", code="dtype" if x.shape in [t.shape for t in types] else "shape")
