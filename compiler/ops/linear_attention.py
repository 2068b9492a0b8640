from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.chunks import CHUNK, across, corrected, inside
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example, Op, OpError, Types, fast_path, need_fixed, need_float, need_rank
from lamina.compiler.sequences import Sequences, abreast, carry, in_a_row, in_turn
from lamina.schema.dims import Size, TensorType, bounds, product

_SHORT = 2 * CHUNK  # steps
_CACHED = 8192  # numbers of a head's state that stay in a core's first cache


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
        x = self._sequences(inputs)

        def step(g: Builder, state: Value, *slices: Value) -> tuple[Value, Value]:
            return self._step(g, x, state, *slices)

        over = [(g.transpose(value, 2, 0, 1, 3), type_) for value, type_ in x.sequences(g)]
        last, y = g.scan(step, [(x.start(g), x.last)], over, [x.last.with_shape((*x.last.shape[:2], x.last.shape[3]))])
        return g.transpose(y, 1, 2, 0, 3), last

    def _step(self, g: Builder, x: Sequences, state: Value, q: Value, k: Value, v: Value, *rest: Value) -> tuple[Value, Value]:
        """One step, of inputs without a dim of time."""
        if x.decay is not None:
            state = g("Mul", state, g("Unsqueeze", g("Exp", rest[0]), g.ints(3)))
        v = g("Unsqueeze", v, g.ints(2))
        if x.beta is not None:
            known = g("MatMul", g("Unsqueeze", k, g.ints(2)), state)
            v = g("Mul", g("Sub", v, known), g("Unsqueeze", rest[-1], g.ints(2)))
        state = g("Add", state, g("Mul", g("Unsqueeze", k, g.ints(3)), v))
        row = g("Unsqueeze", x.scaled(g, q), g.ints(2))
        return state, g("Squeeze", g("MatMul", row, state), g.ints(2))

    def _sequences(self, inputs: Sequence[Value]) -> Sequences:
        scale = 1 / math.sqrt(need_fixed(inputs[0].shape[3], "dk")) if self.scale is None else self.scale
        return Sequences(scale, *inputs)

    @fast_path("onnxruntime")
    def native(self, g: Builder, *inputs: Value) -> Any:
        """Our own kernel, which goes step by step, and where it is missing what follows here."""
        x = self._sequences(inputs)
        if x.q.dtype != "float32":
            return NotImplemented

        def define(inner: Builder, *given: Value) -> Any:
            q, k, v, decay, beta, state = given
            kernel = self.kernel(inner, q, k, v, decay, beta, state)
            return self.by_chunks(inner, q, k, v, decay, beta, state) if kernel is NotImplemented else kernel

        given = (*inputs, *[None] * (6 - len(inputs)))
        return g.native("LinearAttention", given, define, outputs=2, scale=x.scale, joined=0)

    @fast_path("onnxruntime")
    def kernel(self, g: Builder, *inputs: Value) -> Any:
        """ONNX Runtime's own, each head as a sample: for the delta rule, few steps, and states that stay in a core's cache."""
        x = self._sequences(inputs)
        large = bounds(x.q.shape[2])[1] > _SHORT and bounds(x.q.shape[3] * x.v.shape[3])[1] > _CACHED
        if x.q.dtype != "float32" or (large and x.beta is None) or x.scale == 0:  # which stands for 1 / sqrt(dk) there
            return NotImplemented
        steps = x.q.shape[2]
        q, k, v, *rest = (g("Reshape", value, g.shape([-1, steps, type_.shape[-1]])) for value, type_ in x.sequences(g))
        decay, beta = rest[0] if x.decay is not None else None, rest[-1] if x.beta is not None else None
        rule = ("linear" if beta is None else "delta") if decay is None else "gated" if beta is None else "gated_delta"
        start = None if x.state is None else g("Reshape", x.state, g.shape([-1, 1, *x.last.shape[2:]]))
        attributes: dict[str, Any] = {"q_num_heads": 1, "kv_num_heads": 1, "update_rule": rule, "scale": x.scale}
        found = g("LinearAttention", q, k, v, start, decay, beta, outputs=2, domain="com.microsoft", **attributes)
        y, last = (g("Cast", value, to=ONNX_DTYPE[x.q.dtype]) for value in found)  # in a function nothing else tells their type
        return g("Reshape", y, g.shape(x.steps(steps).shape)), g("Reshape", last, g.shape(x.last.shape))

    @fast_path("onnx", "onnxruntime", "tensorrt", "torch")
    def one_step(self, g: Builder, *inputs: Value) -> Any:
        """No loop where there is one step."""
        x = self._sequences(inputs)
        if x.q.shape[2] != 1:
            return NotImplemented
        last, y = self._step(g, x, x.start(g), *(g("Squeeze", value, g.ints(2)) for value, _ in x.sequences(g)))
        return g("Unsqueeze", y, g.ints(2)), last

    @fast_path("onnxruntime")
    def by_chunks(self, g: Builder, *inputs: Value) -> Any:
        """A chunk after the other, whose values stay in the cache; the last one may be shorter."""
        x = self._sequences(inputs)
        if x.beta is not None or x.q.dtype != "float32":
            return NotImplemented
        return in_turn(g, x)

    @fast_path("onnx", "tensorrt", "module")
    def side_by_side(self, g: Builder, *inputs: Value) -> Any:
        """All chunks at once, zeros at the end; a loop of as many passes as there are chunks carries the state through them."""
        x = self._sequences(inputs)
        if x.beta is not None or x.q.dtype not in ("float32", "float64"):
            return NotImplemented
        chunks, _ = abreast(g, x)
        queries, keys, kept = across(g, chunks)
        before, state = carry(g, x, g("MatMul", keys, chunks.v), kept)
        return in_a_row(g, x, g("Add", inside(g, chunks), g("MatMul", queries, before))), state

    @fast_path("module")
    def delta_side_by_side(self, g: Builder, *inputs: Value) -> Any:
        """The same for the delta rule, with a triangular system in each chunk."""
        x = self._sequences(inputs)
        if x.beta is None or x.per_channel or x.q.dtype not in ("float32", "float64"):
            return NotImplemented
        chunks, beta = abreast(g, x)
        queries, keys, kept = across(g, chunks)
        own, known = corrected(g, chunks, beta)
        before, state = carry(g, x, g("MatMul", keys, own), kept, g("MatMul", keys, known))
        written = replace(chunks, v=g("Sub", own, g("MatMul", known, before)))
        return in_a_row(g, x, g("Add", inside(g, written), g("MatMul", queries, before))), state

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        q, _, v, *rest = inputs
        total: Size = product(q.shape) * v.shape[3] * (3 if len(rest) > 1 and rest[1] is not None else 2)
        return total


def _need(what: str, x: TensorType | None, *types: TensorType) -> None:
    if x is not None and x not in types:
        wanted = " or ".join(map(str, types))
        raise OpError(f"{what} must be {wanted}, but it is {x}", code="dtype" if x.shape in [t.shape for t in types] else "shape")
