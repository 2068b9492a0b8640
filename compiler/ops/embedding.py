from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.compiler.blocked import Blocked, rows
from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, Positive, Weight, fast_path
from lamina.schema.dims import FLOATS, DType, Size, TensorType


class Embedding(Op):
    """y = weight[ids], a table of `count` rows of `dim` numbers.

    ids: int64 or int32, any shape, 0 <= id < count. y: [*ids, dim] of `dtype`. weight: [count, dim].
    Where `weight` is given as a value, the arguments may be left out. Source: torch.nn.Embedding.
    """

    name = "embedding"
    count: Positive
    dim: Positive
    dtype: DType = "float32"
    examples = (
        Example({"count": 11, "dim": 4}, ["int64[b, t]"], values="index:11"),
        Example({"count": 3, "dim": 8}, ["int32[t]"], values="index:3"),
        Example({"count": 5, "dim": 2, "dtype": "float16"}, ["int64[b, h, w]"], values="index:5"),
    )

    @classmethod
    def implied(cls, weights: Mapping[str, TensorType], given: Mapping[str, Any]) -> Mapping[str, Any]:
        weight = weights.get("weight")
        return {"count": weight.shape[0], "dim": weight.shape[1], "dtype": weight.dtype} if weight and weight.rank == 2 else {}

    def parameters(self, ids: TensorType) -> Mapping[str, Weight]:
        return {"weight": Weight(TensorType(self.dtype, (self.count, self.dim)), "normal(1.0)")}

    def infer(self, ids: TensorType) -> TensorType:
        if ids.dtype not in ("int64", "int32"):
            raise OpError(f"the ids must be int64 or int32, but they are {ids}", "convert them with cast(x, 'int64')", "dtype")
        if self.dtype not in FLOATS:
            raise OpError(f"`dtype` is {self.dtype}, but an embedding is floating point", f"use one of {', '.join(FLOATS)}", "dtype")
        return TensorType(self.dtype, (*ids.shape, self.dim))

    def indexed(self, ids: TensorType) -> Mapping[int, tuple[Size, Size]]:
        return {0: (0, self.count)}

    def define(self, g: Builder, ids: Value, *, weight: Value) -> Value:
        return g("Gather", weight, ids)

    @fast_path("onnxruntime")
    def blocked(self, g: Builder, ids: Value, *, weight: Value) -> Any:
        """A table that a linear layer shares, and keeps in blocks."""
        return rows(g, ids, weight) if isinstance(weight, Blocked) else NotImplemented

    @fast_path("torch")
    def functional(self, g: Builder, ids: Value, *, weight: Value) -> Any:
        return g.torch("nn.functional.embedding", ids, weight)
