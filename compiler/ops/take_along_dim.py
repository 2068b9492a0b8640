from __future__ import annotations

from collections.abc import Mapping

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import need_dtype
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, some
from lamina.compiler.op import Example, Op, OpError, axis, broadcast
from lamina.schema.dims import Size, TensorType


class TakeAlongDim(Op):
    """y[..., i, ...] = x[..., index[..., i, ...], ...] along `dim`.

    x: any dtype, any shape; index: int32 or int64 of the same rank; other dimensions broadcast. Source: torch.take_along_dim.
    """

    name = "take_along_dim"
    dim: int
    examples = (
        Example({"dim": 1}, ["float32[b, 8]", "int64[b, t]"], values="index:8"),
        Example({"dim": -1}, ["float32[b, h, 6]", "int64[b, h, 3]"], values="index:6"),
        Example({"dim": 1}, ["float32[b, 7, h]", "int64[b, 2, 1]"], values="index:7"),
        Example({"dim": 0}, ["float32[7, 1]", "int32[2, t]"], values="index:7"),
    )

    def infer(self, x: TensorType, index: TensorType) -> TensorType:
        need_dtype(index, ("int64", "int32"), "the index")
        at = axis(self.dim, x)
        if x.rank != index.rank:
            raise OpError(f"the index {index} must have as many dimensions as {x}")
        return x.with_shape(self._aligned(x, index, at)[1])

    def _aligned(self, x: TensorType, index: TensorType, at: int) -> tuple[tuple[Size, ...], tuple[Size, ...]]:
        """The shapes of x and index after broadcasting every dimension but `dim`."""
        try:
            shape = broadcast(_with(x, at, 1), _with(index, at, 1))
        except OpError as error:
            raise OpError(f"the index {index} and {x} do not fit together in a dimension other than {at}") from error
        return (*shape[:at], x.shape[at], *shape[at + 1 :]), (*shape[:at], index.shape[at], *shape[at + 1 :])

    def integers(self, y: TensorType, x: Known, _: Known) -> Known:
        return some(x)

    def indexed(self, x: TensorType, index: TensorType) -> Mapping[int, tuple[Size, Size]]:
        size = x.shape[self.dim]
        return {1: (-size, size)}

    def define(self, g: Builder, x: Value, index: Value) -> Value:
        at = self.dim % x.rank
        wide, wanted = self._aligned(TensorType(x.dtype, x.shape), TensorType(index.dtype, index.shape), at)
        x = x if wide == x.shape else g("Expand", x, g.shape(wide))
        index = index if wanted == index.shape else g("Expand", index, g.shape(wanted))
        return g("GatherElements", x, index, axis=at)


def _with(x: TensorType, at: int, size: Size) -> TensorType:
    return x.with_shape((*x.shape[:at], size, *x.shape[at + 1 :]))
