from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE, numpy_dtype
from lamina.compiler.op import Example, Op, OpError, Positive, Types, broadcast, fast_path, need_fixed, need_float, need_rank
from lamina.compiler.windows import smallest
from lamina.schema.dims import Size, TensorType, product


class Attention(Op):
    """y = softmax(scale * q @ k.T + bias) @ v, for every head.

    q: float [N, heads, Tq, d]; k: [N, kv_heads, Tk, d]; v: [N, kv_heads, Tk, dv]; y: [N, heads, Tq, dv]. kv_heads divides heads: query head
    h reads key head h * kv_heads // heads (grouped-query attention). mask broadcasts to [N, heads, Tq, Tk]: bool (true: may attend) or
    float (added). `causal` lets query i see keys up to i + Tk - Tq; `window` w only the last w of them, or without `causal` those less than
    w away on either side; a query to which a bool mask leaves none of these takes the mean of their values. sink: [heads], the score of one
    more key, whose value is 0.
    `scale` is 1 / sqrt(d) unless given; `softcap` c bounds scores to c * tanh(score / c); `dropout` acts on the weights in train mode.
    Source: torch.nn.functional.scaled_dot_product_attention, arXiv 1706.03762, 2305.13245, 2004.05150, 2309.17453.
    """

    name = "attention"
    causal: bool = False
    window: Positive | None = None
    scale: float | None = None
    softcap: Annotated[float, Field(gt=0)] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    examples = (
        Example({}, ["float32[b, 3, t, 8]"] * 3),
        Example({"causal": True}, ["float32[b, 2, t, 8]"] * 3),
        Example({"causal": True, "scale": 0.5}, ["float32[b, 2, t, 8]", "float32[b, 2, t + 3, 8]", "float32[b, 2, t + 3, 5]"]),
        Example({}, ["float32[b, 3, t, 8]", "float32[b, 3, h, 8]", "float32[b, 3, h, 8]", "bool[b, 1, 1, h]"]),
        Example({"dropout": 0.1}, ["float32[b, 4, t, 8]", "float32[b, 2, h, 8]", "float32[b, 2, h, 4]", "float32[t, h]"]),
        Example({"causal": True}, ["float32[b, 6, t, 4]", "float32[b, 1, t, 4]", "float32[b, 1, t, 4]", "bool[b, 6, t, t]"]),
        Example({"softcap": 5.0}, ["float32[1, 4, 6, 8]", "float32[1, 2, 6, 8]", "float32[1, 2, 6, 8]"]),
        Example({}, ["float16[b, 2, t, 8]"] * 3),
        Example({"causal": True, "window": 3}, ["float32[b, 2, t, 8]", "float32[b, 2, t + 5, 8]", "float32[b, 2, t + 5, 8]"]),
        Example({"window": 2}, ["float32[b, 2, t, 8]"] * 3),
        Example({"causal": True}, ["float32[b, 4, t, 8]", "float32[b, 2, t, 8]", "float32[b, 2, t, 8]", "", "float32[4]"]),
    )

    def infer(
        self, q: TensorType, k: TensorType, v: TensorType, mask: TensorType | None = None, sink: TensorType | None = None
    ) -> TensorType:
        for what, x in (("q", q), ("k", k), ("v", v)):
            need_rank(x, 4, f"{what} (batch, heads, length, width)")
            need_float(x, what)
            if x.dtype != q.dtype:
                raise OpError(f"q and {what} must have one dtype, but they are {q} and {x}", f"cast({what}, '{q.dtype}')", "dtype")
        _need_same("q", q, "k", k, 0, 3)
        _need_same("k", k, "v", v, 0, 1, 2)
        _need_grouped(q, k)
        if mask is not None:
            _need_mask(mask, q.with_shape((*q.shape[:3], k.shape[2])))
        if sink is not None and sink != TensorType(q.dtype, (q.shape[1],)):
            raise OpError(f"the sink must be {q.dtype}[{q.shape[1]}], a score for each head of q, but it is {sink}")
        if self.scale is None:
            need_fixed(q.shape[3], f"the width of a head, dim 3 of q {q},")
        return q.with_shape((*q.shape[:3], v.shape[3]))

    def define(self, g: Builder, q: Value, k: Value, v: Value, mask: Value | None = None, sink: Value | None = None) -> Value:
        grouped = q.shape[1] != k.shape[1]
        # A group's queries share their keys: they are rows of one matrix, so that keys are never copied.
        rows = g("Reshape", q, g.shape([0, k.shape[1], -1, q.shape[3]])) if grouped else q
        scores = g("MatMul", g("Mul", rows, g.scalar(self._scale(q), q)), g.transpose(k, 0, 1, 3, 2))
        weights = self._weights(g, _regroup(g, scores, q) if grouped else scores, q, k, mask, sink)
        if not grouped:
            return g("MatMul", weights, v)
        y = g("MatMul", g("Reshape", weights, g("Concat", g("Shape", rows, end=3), g.ints(-1), axis=0)), v)
        return _regroup(g, y, q)

    def _weights(self, g: Builder, scores: Value, q: Value, k: Value, mask: Value | None, sink: Value | None) -> Value:
        if self.softcap is not None:
            scores = g("Mul", g("Tanh", g("Div", scores, g.scalar(self.softcap, q))), g.scalar(self.softcap, q))
        if (bias := self._bias(g, q, k, mask)) is not None:
            scores = g("Add", scores, bias)
        weights = g("Softmax", scores, axis=-1) if sink is None else _with_sink(g, scores, sink, q, k)
        return g("Dropout", weights, g.constant(self.dropout, "float32")) if self.dropout else weights

    def _bias(self, g: Builder, q: Value, k: Value, mask: Value | None) -> Value | None:
        """What is added to the scores."""
        seen = self._seen(g, q, k)
        if mask is not None and mask.dtype == "bool":
            mask = g("Where", mask, g.scalar(0.0, q), g.scalar(_lowest(q) / 2, q))
        if seen is None:
            return mask
        return g("Where", seen, g.scalar(0.0, q) if mask is None else mask, g.scalar(_lowest(q), q))

    def _seen(self, g: Builder, q: Value, k: Value) -> Value | None:
        """bool [Tq, Tk]: which keys a query may see; key j is as far as query i where j is i + Tk - Tq."""
        if not self.causal and self.window is None:
            return None
        queries, keys = g("Squeeze", g.size(q.shape[2])), g("Squeeze", g.size(k.shape[2]))
        zero, one = g.constant(0, "int64"), g.constant(1, "int64")
        places = g("Unsqueeze", g("Add", g("Range", zero, queries, one), g("Sub", keys, queries)), g.ints(1))
        after = g("Sub", g("Range", zero, keys, one), places)
        near = [] if self.window is None else [g("Less", g("Neg" if self.causal else "Abs", after), g.constant(self.window, "int64"))]
        seen = [g("LessOrEqual", after, zero), *near] if self.causal else near
        return seen[0] if len(seen) == 1 else g("And", *seen)

    def _scale(self, q: Value) -> float:
        return 1 / math.sqrt(need_fixed(q.shape[3], "d")) if self.scale is None else self.scale

    @fast_path("torch")
    def functional(self, g: Builder, q: Value, k: Value, v: Value, mask: Value | None = None, sink: Value | None = None) -> Any:
        """PyTorch's kernels. They align a causal mask at the start, take it or another mask, and their dropout ignores train mode."""
        if (
            self.softcap is not None
            or self.dropout
            or self.window
            or sink is not None
            or (self.causal and (mask is not None or q.shape[2] != k.shape[2]))
        ):
            return NotImplemented
        if mask is not None and mask.dtype == "bool":
            mask = g.torch("where", mask, g.scalar(0.0, q), g.scalar(_lowest(q) / 2, q))
        grouped = q.shape[1] != k.shape[1]
        return g.torch(
            "nn.functional.scaled_dot_product_attention", q, k, v, mask, is_causal=self.causal, scale=self.scale, enable_gqa=grouped
        )

    @fast_path("torch")
    def repeated(self, g: Builder, q: Value, k: Value, v: Value, mask: Value | None = None, sink: Value | None = None) -> Any:
        """A key for each head of a group: torch.export cannot prove that the definition's rows of a group lie in order for every length."""
        heads, kv_heads = q.shape[1], k.shape[1]
        if heads == kv_heads or not isinstance(heads, int) or not isinstance(kv_heads, int):
            return NotImplemented
        keys, values = (g.torch("repeat_interleave", x, repeats=heads // kv_heads, dim=1) for x in (k, v))
        scores = g("MatMul", g("Mul", q, g.scalar(self._scale(q), q)), g.transpose(keys, 0, 1, 3, 2))
        return g("MatMul", self._weights(g, scores, q, k, mask, sink), values)

    @fast_path("onnxruntime")
    def operator(self, g: Builder, q: Value, k: Value, v: Value, mask: Value | None = None, sink: Value | None = None) -> Any:
        """As fast as the definition here; it wins once `join_heads` has taken the transposes around it away. It refuses an empty batch, has
        no kernel of float64, and what ONNX Runtime puts in its place there is as inexact as float32. That of float16 keeps the scores in
        float16, where a score near 100 is off by 0.03 and its weight by 3%: float32 inside is ten times as exact and no slower."""
        if self.dropout or sink is not None or q.dtype == "float64" or not smallest(q.shape[0]):
            return NotImplemented
        causal = self.causal and self.window is None and mask is None and q.shape[2] == k.shape[2]
        bias = None if causal else self._bias(g, q, k, mask)
        if bias is not None:
            bias = g("Expand", bias, g.shape([1, 1, q.shape[2], k.shape[2]]))
        narrow = q.dtype == "float16"
        given = [g("Cast", x, to=ONNX_DTYPE["float32"]) if narrow and x is not None else x for x in (q, k, v, bias)]
        y = g("Attention", *given, is_causal=int(causal), scale=self._scale(q), softcap=self.softcap)
        return g("Cast", y, to=ONNX_DTYPE["float16"]) if narrow else y

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        q, k, v, *_ = inputs
        total: Size = product(q.shape[:3]) * k.shape[2] * (q.shape[3] + v.shape[3])
        return total


def _with_sink(g: Builder, scores: Value, sink: Value, q: Value, k: Value) -> Value:
    """The weights of the keys, beside one more score for each head that takes its share of the sum."""
    column = g("Expand", g("Reshape", sink, g.ints(1, -1, 1, 1)), g.shape([q.shape[0], q.shape[1], q.shape[2], 1]))
    weights = g("Softmax", g("Concat", scores, column, axis=-1), axis=-1)
    return g("Slice", weights, g.ints(0), g.size(k.shape[2]), g.ints(-1))


def _lowest(q: Value) -> float:
    """What a score is lowered to where `causal` or `window` forbid it; a mask lowers half as much.

    Any weight but 0 is out of its reach, while the sum with a score is finite: a query without any key is no NaN.
    """
    return -2e38 if q.dtype == "bfloat16" else float(np.finfo(numpy_dtype(q.dtype)).min * 0.75)


def _regroup(g: Builder, x: Value, q: Value) -> Value:
    """[N, kv_heads, group * Tq, last] as [N, heads, Tq, last]."""
    return g("Reshape", x, g("Concat", g("Shape", q, end=3), g.ints(-1), axis=0))


def _need_same(a: str, x: TensorType, b: str, y: TensorType, *axes: int) -> None:
    for i in axes:
        if x.shape[i] != y.shape[i]:
            raise OpError(f"dim {i} of {a} and {b} must be the same, but they are {x} and {y}")


def _need_grouped(q: TensorType, k: TensorType) -> None:
    heads, kv_heads = q.shape[1], k.shape[1]
    if heads == kv_heads:
        return
    heads, kv_heads = (
        need_fixed(heads, f"the number of heads, dim 1 of q {q},"),
        need_fixed(kv_heads, f"the number of heads, dim 1 of k {k},"),
    )
    if heads % kv_heads:
        raise OpError(f"q has {heads} heads and k has {kv_heads}, which does not divide them")


def _need_mask(mask: TensorType, scores: TensorType) -> None:
    if mask.dtype not in ("bool", scores.dtype):
        raise OpError(
            f"the mask must be bool or {scores.dtype}, but it is {mask}", f"use mask != 0, or cast(mask, '{scores.dtype}')", "dtype"
        )
    wanted = f"the mask {mask} must broadcast to [batch, heads, queries, keys], {scores}"
    try:
        fits = broadcast(mask, scores) == scores.shape
    except OpError:
        fits = False
    if not fits:
        raise OpError(wanted, "for a padding mask [N, Tk] write mask[:, None, None, :]")
