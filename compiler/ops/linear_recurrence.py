from __future__ import annotations

from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, fast_path, need_float
from lamina.schema.dims import Dim, Size, Symbol, TensorType, bounds, product

_CHUNK = 32  # steps
_NARROW = 512  # numbers of a step


class LinearRecurrence(Op):
    """h[t] = a[t] * h[t-1] + b[t], elementwise along dim 1. The last h is a second result.

    a, b, and all h: float [N, T, *any]; state, the h before the first step (zeros unless given), and the last h: [N, *any].
    a is a gate: at most 1 in size. Source: arXiv 2402.19427, 2410.01201.
    """

    name = "linear_recurrence"
    examples = (
        Example({}, ["float32[b, t, 6]", "float32[b, t, 6]"], values="unit"),
        Example({}, ["float32[b, t, 5]", "float32[b, t, 5]", "float32[b, 5]"], values="unit"),
        Example({}, ["float32[b, t]", "float32[b, t]", "float32[b]"], values="unit"),
        Example({}, ["float32[b, 65, h]", "float32[b, 65, h]", "float32[b, h]"], values="unit"),
        Example({}, ["float32[b, 1, 2, 3]", "float32[b, 1, 2, 3]", "float32[b, 2, 3]"], values="unit"),
    )

    def infer(self, a: TensorType, b: TensorType, state: TensorType | None = None) -> tuple[TensorType, TensorType]:
        need_float(a, "a")
        if a.rank < 2:
            raise OpError(f"a must be [batch, time, ...], but it is {a}")
        last = a.with_shape((a.shape[0], *a.shape[2:]))
        for name, x, wanted in (("b", b, a), ("state", state, last)):
            if x is not None and x != wanted:
                raise OpError(f"{name} must be {wanted}, but it is {x}", code="dtype" if x.shape == wanted.shape else "shape")
        return a, last

    def define(self, g: Builder, a: Value, b: Value, state: Value | None = None) -> tuple[Value, Value]:
        type_ = _step_type(a)
        start = _start(g, a, state)

        def step(g: Builder, h: Value, a: Value, b: Value) -> tuple[Value, Value]:
            h = g("Add", g("Mul", a, h), b)
            return h, g("Identity", h)

        front = (1, 0, *range(2, a.rank))
        last, h = g.scan(step, [(start, type_)], [(g.transpose(x, *front), type_) for x in (a, b)], [type_])
        return g.transpose(h, *front), last

    @fast_path("onnx", "onnxruntime", "tensorrt", "torch")
    def one_step(self, g: Builder, a: Value, b: Value, state: Value | None = None) -> Any:
        """No loop where there is one step."""
        if a.shape[1] != 1:
            return NotImplemented
        h = b if state is None else g("Add", g("Mul", a, g("Unsqueeze", state, g.ints(1))), b)
        return h, g("Squeeze", h, g.ints(1))

    @fast_path("onnx", "onnxruntime")
    def narrow(self, g: Builder, a: Value, b: Value, state: Value | None = None) -> Any:
        """Chunks side by side where a step alone is too little work for a processor."""
        wide = bounds(product(a.shape[2:]))[1] > _NARROW
        return NotImplemented if wide else self.side_by_side(g, a, b, state)

    @fast_path("tensorrt", "module")
    def side_by_side(self, g: Builder, a: Value, b: Value, state: Value | None = None) -> Any:
        """Chunks side by side, each from zero, and then what the one before leaves in it: loops of `_CHUNK` and of T / `_CHUNK` passes."""
        if bounds(a.shape[1])[1] <= 2 * _CHUNK:
            return NotImplemented
        steps, type_ = g.size(a.shape[1]), _step_type(a)
        short = g("Concat", g.ints(0), g("Mod", g("Neg", steps), g.ints(_CHUNK)), axis=0)
        order = (2, 1, 0, *range(3, a.rank + 1))  # [N, chunks, steps, ...] to [steps, chunks, N, ...] and back
        parts = []
        for x, fill in ((a, 1.0), (b, 0.0)):
            filled = g("Pad", x, short, g.scalar(fill, x), g.ints(1))
            chunked = g("Reshape", filled, g("Concat", g.ints(0, -1, _CHUNK), g("Shape", x, start=2), axis=0))
            parts.append(g.transpose(chunked, *order))
        own, kept = _alone(g, parts, a.shape[1], type_)
        before, last = _carried(g, own, kept, _start(g, a, state), type_)
        h = g.transpose(g("Add", own, g("Mul", kept, before)), *order)
        h = g("Reshape", h, g("Concat", g.ints(0, -1), g("Shape", a, start=2), axis=0))
        return g("Slice", h, g.ints(0), steps, g.ints(1)), last


def _alone(g: Builder, parts: list[Value], steps: Size, type_: TensorType) -> tuple[Value, Value]:
    """Of every chunk: h from zero, and the part of what was there before that is left; both [steps, chunks, N, ...]."""
    wide = type_.with_shape((Dim.of(Symbol(f"chunks of {steps}", min=1, opt=1, max=2**31)), *type_.shape))
    shape = g("Shape", parts[0], start=1)

    def step(g: Builder, h: Value, kept: Value, a: Value, b: Value) -> tuple[Value, ...]:
        h, kept = g("Add", g("Mul", a, h), b), g("Mul", a, kept)
        return h, kept, g("Identity", h), g("Identity", kept)

    start = [(g("Expand", g.constant(fill, type_.dtype), shape), wide) for fill in (0.0, 1.0)]
    _, _, own, kept = g.scan(step, start, [(x, wide) for x in parts], [wide, wide])
    return own, kept


def _carried(g: Builder, own: Value, kept: Value, start: Value, type_: TensorType) -> tuple[Value, Value]:
    """h before each chunk, [chunks, N, ...], and after the last one."""

    def step(g: Builder, h: Value, own: Value, kept: Value) -> tuple[Value, Value]:
        return g("Add", g("Mul", kept, h), own), g("Identity", h)

    ends = [(g("Gather", x, g.constant(-1, "int64"), axis=0), type_) for x in (own, kept)]
    last, before = g.scan(step, [(start, type_)], ends, [type_])
    return before, last


def _step_type(x: Value) -> TensorType:
    return TensorType(x.dtype, (x.shape[0], *x.shape[2:]))


def _start(g: Builder, x: Value, state: Value | None) -> Value:
    return state or g("Expand", g.scalar(0.0, x), g.shape(_step_type(x).shape))
