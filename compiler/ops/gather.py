from __future__ import annotations

from collections.abc import Mapping

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import need_dtype
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, some
from lamina.compiler.op import Example, Op, axis
from lamina.schema.dims import Size, TensorType


class Gather(Op):
    """y = x[..., index, ...]: the slices of x along `dim` that a tensor of indices names.

    x: any dtype, [*before, n, *after]; index: int32 or int64 of any shape, -n to n - 1; y: [*before, *index, *after].
    An index out of range is a run-time error. Source: onnx Gather; torch.index_select for a one-dimensional index.
    """

    name = "gather"
    dim: int = 0
    examples = (
        Example({}, ["float32[10, 4]", "int64[b, t]"], values="index:10"),
        Example({"dim": -1}, ["float32[b, h, 6]", "int64[3]"], values="index:6"),
        Example({"dim": 1}, ["float32[b, 7]", "int32[]"], values="index:7"),
    )

    def infer(self, x: TensorType, index: TensorType) -> TensorType:
        need_dtype(index, ("int64", "int32"), "the index")
        at = axis(self.dim, x)
        return x.with_shape((*x.shape[:at], *index.shape, *x.shape[at + 1 :]))

    def integers(self, y: TensorType, x: Known, _: Known) -> Known:
        return some(x)

    def indexed(self, x: TensorType, index: TensorType) -> Mapping[int, tuple[Size, Size]]:
        size = x.shape[self.dim]
        return {1: (-size, size)}

    def define(self, g: Builder, x: Value, index: Value) -> Value:
        return g("Gather", x, index, axis=self.dim)
