from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from lamina.compiler import elementary
from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example, Op, OpError, Positive, broadcast, fast_path, need_fixed, need_float, need_rank
from lamina.schema.dims import TensorType


class RotaryEmbedding(Op):
    """Rotate pairs of numbers by position * base ^ (-2 i / dim): (a, b) -> (a cos - b sin, a sin + b cos).

    x: float [N, heads, T, d]. y: like x. The first `dim` numbers (all, unless given) are rotated: pair i is (i, i + dim / 2), or with
    `interleaved` (2 i, 2 i + 1). positions: integers [T] or [N, T], 0 to T - 1 unless given. Angles of another law come as
    cos and sin, both, which broadcast to [N, heads, T, dim / 2]. Source: arXiv 2104.09864.
    """

    name = "rotary_embedding"
    base: Annotated[float, Field(gt=0)] = 10000.0
    interleaved: bool = False
    dim: Positive | None = None
    examples = (
        Example({}, ["float32[b, 2, t, 8]"]),
        Example({}, ["float32[b, 2, t, 8]", "int64[b, t]"], values="index:40"),
        Example({"interleaved": True, "base": 500.0}, ["float32[b, 2, t, 8]", "int64[t]"], values="index:40"),
        Example({"dim": 4}, ["float32[b, 2, t, 8]", "int32[b, t]"], values="index:40"),
        Example({"interleaved": True, "dim": 6}, ["float32[b, 1, t, 8]"]),
        Example({}, ["float16[b, 2, t, 8]"]),
    )

    def infer(
        self, x: TensorType, positions: TensorType | None = None, cos: TensorType | None = None, sin: TensorType | None = None
    ) -> TensorType:
        need_rank(x, 4, "the input (batch, heads, length, width)")
        need_float(x)
        dim = self._dim(x)
        if dim % 2 or dim > need_fixed(x.shape[3], f"dim 3 of {x}"):
            raise OpError(f"`dim` is {dim}, but it must be even and at most {x.shape[3]}, the width of {x}", code="value")
        if (cos is None) != (sin is None) or (cos is not None and positions is not None):
            raise OpError("give positions, or cos and sin, or none of them", code="value")
        _need_positions(positions, x)
        for table in (cos, sin):
            _need_table(table, x.with_shape((*x.shape[:3], dim // 2)))
        return x

    def _dim(self, x: TensorType | Value) -> int:
        return need_fixed(x.shape[3], f"the width, dim 3 of {x},") if self.dim is None else self.dim

    def define(self, g: Builder, x: Value, positions: Value | None = None, cos: Value | None = None, sin: Value | None = None) -> Value:
        if cos is None or sin is None:
            cos, sin = self._tables(g, x, positions)
            if positions is not None and positions.rank == 2:
                cos, sin = (g("Unsqueeze", table, g.ints(1)) for table in (cos, sin))
        dim, rotated, rest = self._dim(x), x, None
        if dim != x.shape[3]:
            rotated, rest = g("Split", x, g.ints(dim, need_fixed(x.shape[3], "d") - dim), outputs=2, axis=-1)
        a, b = self._pairs(g, rotated, dim)
        first, second = g("Sub", g("Mul", a, cos), g("Mul", b, sin)), g("Add", g("Mul", a, sin), g("Mul", b, cos))
        y = self._joined(g, first, second, dim)
        return y if rest is None else g("Concat", y, rest, axis=-1)

    @fast_path("onnxruntime")
    def operator(self, g: Builder, x: Value, positions: Value | None = None, cos: Value | None = None, sin: Value | None = None) -> Any:
        """Half the time of the definition. The standard has no float64 for it."""
        if cos is not None or sin is not None or x.dtype == "float64":
            return NotImplemented
        whole = g.shape([x.shape[0], x.shape[2], self._dim(x) // 2])
        tables = (g("Expand", table, whole) for table in self._tables(g, x, positions))
        partial = self.dim if self.dim != x.shape[3] else None
        return g("RotaryEmbedding", x, *tables, interleaved=int(self.interleaved), rotary_embedding_dim=partial)

    def _tables(self, g: Builder, x: Value, positions: Value | None) -> tuple[Value, Value]:
        """cos and sin, [T, dim / 2] or, where samples have their own positions, [N, T, dim / 2]."""
        if positions is None:
            positions = g("Range", g.constant(0, "int64"), g("Squeeze", g.size(x.shape[2])), g.constant(1, "int64"))
        dim, wide = self._dim(x), "float64" if x.dtype == "float64" else "float32"
        column = g("Cast", g("Unsqueeze", positions, g.ints(-1)), to=ONNX_DTYPE[wide])
        angles = g("Mul", column, g.constant(elementary.power(self.base, -np.arange(0, dim, 2) / dim), wide))
        cos, sin = g("Cos", angles), g("Sin", angles)
        return (cos, sin) if x.dtype == wide else (g("Cast", cos, to=ONNX_DTYPE[x.dtype]), g("Cast", sin, to=ONNX_DTYPE[x.dtype]))

    def _pairs(self, g: Builder, x: Value, dim: int) -> tuple[Value, ...]:
        if not self.interleaved:
            return g("Split", x, outputs=2, axis=-1, num_outputs=2)
        end, last, two = g.ints(dim), g.ints(-1), g.ints(2)
        return g("Slice", x, g.ints(0), end, last, two), g("Slice", x, g.ints(1), end, last, two)

    def _joined(self, g: Builder, first: Value, second: Value, dim: int) -> Value:
        if not self.interleaved:
            return g("Concat", first, second, axis=-1)
        last = g.ints(-1)
        pairs = g("Concat", g("Unsqueeze", first, last), g("Unsqueeze", second, last), axis=-1)
        return g("Reshape", pairs, g.ints(0, 0, 0, dim))


def _need_positions(positions: TensorType | None, x: TensorType) -> None:
    if positions is None:
        return
    if positions.dtype not in ("int64", "int32"):
        raise OpError(f"positions must be int64 or int32, but they are {positions}", "cast(positions, 'int64')", "dtype")
    if positions.shape not in ((x.shape[2],), (x.shape[0], x.shape[2]), (1, x.shape[2])):
        raise OpError(f"positions must be [{x.shape[2]}] or [{x.shape[0]}, {x.shape[2]}] for the input {x}, but they are {positions}")


def _need_table(table: TensorType | None, wanted: TensorType) -> None:
    if table is None:
        return
    if table.dtype != wanted.dtype or table.rank > 4 or broadcast(table, wanted) != wanted.shape:
        raise OpError(f"cos and sin must broadcast to {wanted}, but one is {table}")
