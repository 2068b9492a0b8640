from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, Types, fast_path, need_float, need_rank
from lamina.schema.dims import Size, TensorType, product


class SelectiveScan(Op):
    """h[t] = exp(delta[t] * a) * h[t-1] + delta[t] * u[t] * b[t]; y[t] = h[t] @ c[t], for every channel. The last h is a second result.

    u, delta, y: float [N, T, D]; a: [D, S]; b, c: [N, T, S]; state, the h before the first step (zeros unless given), and the last h:
    [N, D, S]. What stands around it are steps of their own: delta = softplus(...), y + u * d, y * silu(z).
    Source: arXiv 2312.00752.
    """

    name = "selective_scan"
    examples = (
        Example({}, ["float32[b, t, 6]", "float32[b, t, 6]", "float32[6, 4]", "float32[b, t, 4]", "float32[b, t, 4]"], values="unit"),
        Example(
            {},
            ["float32[b, t, 5]", "float32[b, t, 5]", "float32[5, 3]", "float32[b, t, 3]", "float32[b, t, 3]", "float32[b, 5, 3]"],
            values="unit",
        ),
        Example(
            {},
            ["float32[b, 1, 5]", "float32[b, 1, 5]", "float32[5, 3]", "float32[b, 1, 3]", "float32[b, 1, 3]", "float32[b, 5, 3]"],
            values="unit",
        ),
    )

    def infer(
        self, u: TensorType, delta: TensorType, a: TensorType, b: TensorType, c: TensorType, state: TensorType | None = None
    ) -> tuple[TensorType, TensorType]:
        need_rank(u, 3, "u (batch, time, channels)")
        need_float(u, "u")
        need_rank(a, 2, "a (channels, state)")
        n, t, d = u.shape
        size = a.shape[1]
        last = u.with_shape((n, d, size))
        wanted = {"delta": (delta, u), "a": (a, u.with_shape((d, size))), "state": (state, last)}
        wanted |= {name: (x, u.with_shape((n, t, size))) for name, x in (("b", b), ("c", c))}
        for name, (x, type_) in wanted.items():
            if x is not None and x != type_:
                raise OpError(f"{name} must be {type_}, but it is {x}", code="dtype" if x.shape == type_.shape else "shape")
        return u, last

    def define(self, g: Builder, u: Value, delta: Value, a: Value, b: Value, c: Value, state: Value | None = None) -> tuple[Value, Value]:
        (n, _, d), size = u.shape, a.shape[1]
        start = state or g("Expand", g.scalar(0.0, u), g.shape([n, d, size]))

        def step(g: Builder, h: Value, u: Value, delta: Value, b: Value, c: Value) -> tuple[Value, Value]:
            delta = g("Unsqueeze", delta, g.ints(2))
            added = g("Mul", g("Mul", delta, g("Unsqueeze", u, g.ints(2))), g("Unsqueeze", b, g.ints(1)))
            h = g("Add", g("Mul", g("Exp", g("Mul", delta, a)), h), added)
            return h, g("Squeeze", g("MatMul", h, g("Unsqueeze", c, g.ints(2))), g.ints(2))

        def type_(*shape: Size) -> TensorType:
            return TensorType(u.dtype, shape)

        over = [(g.transpose(x, 1, 0, 2), type_(n, x.shape[2])) for x in (u, delta, b, c)]
        last, y = g.scan(step, [(start, type_(n, d, size))], over, [type_(n, d)])
        return g.transpose(y, 1, 0, 2), last

    @fast_path("onnx", "onnxruntime", "tensorrt", "torch")
    def by_rows(self, g: Builder, u: Value, delta: Value, a: Value, b: Value, c: Value, state: Value | None = None) -> Any:
        """The state as [N, S, D], so that c is a row of a product and inner loops are long; no loop where there is one step."""
        (n, t, d), size = u.shape, a.shape[1]
        h = g("Expand", g.scalar(0.0, u), g.shape([n, size, d])) if state is None else g.transpose(state, 0, 2, 1)
        rate = g.transpose(a, 1, 0)

        def step(g: Builder, h: Value, delta: Value, added: Value, b: Value, c: Value) -> tuple[Value, Value]:
            h = g("Add", g("Mul", g("Exp", g("Mul", delta, rate)), h), g("Mul", b, added))
            return h, g("MatMul", c, h)

        def type_(*shape: Size) -> TensorType:
            return TensorType(u.dtype, shape)

        added = g("Mul", delta, u)
        if t == 1:
            h, y = step(g, h, delta, added, g.transpose(b, 0, 2, 1), c)
            return y, g.transpose(h, 0, 2, 1)
        rows = [(g("Unsqueeze", g.transpose(x, 1, 0, 2), g.ints(2)), type_(n, 1, w)) for x, w in ((delta, d), (added, d), (c, size))]
        column = (g("Unsqueeze", g.transpose(b, 1, 0, 2), g.ints(3)), type_(n, size, 1))
        last, y = g.scan(step, [(h, type_(n, size, d))], [*rows[:2], column, rows[2]], [type_(n, 1, d)])
        return g.transpose(g("Squeeze", y, g.ints(2)), 1, 0, 2), g.transpose(last, 0, 2, 1)

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        u, _, a, *_ = inputs
        total: Size = product(u.shape) * a.shape[1] * 3
        return total
