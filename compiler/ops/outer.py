from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import NUMBERS, need_dtype, same_dtype
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, broadcast
from lamina.schema.dims import TensorType


class Outer(Op):
    """z[..., i, j] = x[..., i] * y[..., j]. x: [..., m], y: [..., n], numbers of one dtype; z: [..., m, n]. Source: torch.outer."""

    name = "outer"
    examples = (Example({}, ["float32[t]", "float32[8]"]), Example({}, ["float32[b, 3, t]", "float32[b, 1, 5]"]))

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        need_dtype(x, NUMBERS)
        if not x.rank or not y.rank:
            raise OpError(f"outer needs tensors with dimensions, but has {x} and {y}", "use x * y for a scalar")
        return TensorType(same_dtype(x, y), broadcast(x.with_shape((*x.shape, 1)), y.with_shape((*y.shape[:-1], 1, y.shape[-1]))))

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        return g("Mul", g("Unsqueeze", x, g.ints(-1)), g("Unsqueeze", y, g.ints(-2)))
