from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import same_dtype
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, moved
from lamina.compiler.op import Example, Op, OpError, axis
from lamina.schema.dims import TensorType


class Concat(Op):
    """Tensors one after the other along `dim`. xs: one dtype, shapes equal but for `dim`. Source: torch.cat."""

    name = "concat"
    dim: int
    examples = (
        Example({"dim": 1}, ["float32[b, 8]", "float32[b, t]", "float32[b, 1]"]),
        Example({"dim": -3}, ["int64[b, 3, h, w]", "int64[b, 5, h, w]"]),
        Example({"dim": 0}, ["float32[t]"]),
    )

    def infer(self, *xs: TensorType) -> TensorType:
        dtype, first = same_dtype(*xs), xs[0]
        at = axis(self.dim, first)
        for x in xs[1:]:
            if x.rank != first.rank or any(m != n for i, (m, n) in enumerate(zip(x.shape, first.shape, strict=True)) if i != at):
                raise OpError(f"{first} and {x} cannot be joined along dimension {at}: their other sizes differ")
        return TensorType(dtype, (*first.shape[:at], sum((x.shape[at] for x in xs[1:]), first.shape[at]), *first.shape[at + 1 :]))

    def integers(self, y: TensorType, *xs: Known) -> Known:
        return moved(*xs)

    def define(self, g: Builder, *xs: Value) -> Value:
        return g("Concat", *xs, axis=self.dim)
