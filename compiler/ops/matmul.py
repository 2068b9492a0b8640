from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.contraction import products
from lamina.compiler.elementwise import WIDE, need_dtype, same_dtype
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, Types, broadcast, fast_path
from lamina.schema.dims import INTEGERS, Size, TensorType, product


class Matmul(Op):
    """z = x @ y: [..., m, k] by [..., k, n] gives [..., m, n], leading dimensions broadcast.

    A one-dimensional x is a row, a one-dimensional y a column, and the dimension this adds goes again.
    x, y: float, int64 or int32, of one dtype. Source: torch.matmul.
    """

    name = "matmul"
    examples = (
        Example({}, ["float32[b, 8]", "float32[8, 5]"]),
        Example({}, ["float32[b, 3, t, 8]", "float32[3, 8, t]"]),
        Example({}, ["float32[b, t, 8]", "float32[8]"]),
        Example({}, ["float32[8]", "float32[b, 8, t]"]),
        Example({}, ["float32[t]", "float32[t]"]),
        Example({}, ["int64[b, 8]", "int64[8, 5]"]),
        Example({}, ["int32[8]", "int32[b, 8, t]"]),
        Example({}, ["int64[b, t, 8]", "int64[8]"]),
    )

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        need_dtype(x, WIDE)
        if not x.rank or not y.rank:
            raise OpError(f"matmul needs tensors with dimensions, but has {x} and {y}", "use x * y for a scalar")
        inner = y.shape[-2] if y.rank > 1 else y.shape[0]
        if x.shape[-1] != inner:
            raise OpError(
                f"{x} and {y} cannot be multiplied: the last size of the first is {x.shape[-1]}, the rows of the second are {inner}"
            )
        dtype = same_dtype(x, y)
        batch = broadcast(x.with_shape(x.shape[:-2]), y.with_shape(y.shape[:-2]))
        return TensorType(dtype, (*batch, *x.shape[-2:-1], *(y.shape[-1:] if y.rank > 1 else ())))

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        if y.rank > 1 or x.rank == 1:
            return g("MatMul", x, y)
        # ONNX Runtime is slow at a one-dimensional right side.
        return g("Squeeze", g("MatMul", x, g("Unsqueeze", y, g.ints(1))), g.ints(-1))

    @fast_path("tensorrt")
    def of_integers(self, g: Builder, x: Value, y: Value) -> Any:
        """TensorRT multiplies matrices of floats only."""
        if x.dtype not in INTEGERS:
            return NotImplemented
        row, column = x.rank == 1, y.rank == 1
        left, right = g("Unsqueeze", x, g.ints(0)) if row else x, g("Unsqueeze", y, g.ints(1)) if column else y
        gone = [-2] * row + [-1] * column
        z = products(g, left, right)
        return g("Squeeze", z, g.ints(*gone)) if gone else z

    def macs(self, inputs: Sequence[TensorType], output: Types) -> Size:
        assert isinstance(output, TensorType)
        return product(output.shape) * inputs[0].shape[-1]
