from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, axis, broadcast, fast_path, need_float
from lamina.schema.dims import TensorType


class CosineSimilarity(Op):
    """z = sum(x * y) / (max(|x|, eps) * max(|y|, eps)), along `dim`.

    x, y: float, of one dtype; they broadcast, but their sizes along `dim` are the same. z: the broadcast shape without `dim`, which is
    counted from the end when negative. Source: torch.nn.functional.cosine_similarity.
    """

    name = "cosine_similarity"
    dim: int = -1
    eps: Annotated[float, Field(gt=0)] = 1e-8
    examples = (
        Example({}, ["float32[b, t, 8]", "float32[b, t, 8]"]),
        Example({}, ["float32[b, 1, 8]", "float32[t, 8]"]),
        Example({"dim": 1}, ["float32[b, 3, h, w]", "float32[b, 3, h, w]"]),
    )

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        need_float(x)
        if y.dtype != x.dtype:
            raise OpError(f"both inputs must have one dtype, but they are {x} and {y}", f"cast(y, '{x.dtype}')", "dtype")
        shape = broadcast(x, y)
        at = axis(self.dim, x.with_shape(shape))
        back = len(shape) - at
        if back > min(x.rank, y.rank) or x.shape[-back] != y.shape[-back]:
            raise OpError(f"the inputs {x} and {y} must have the same size along `dim`, {self.dim}")
        return x.with_shape(shape[:at] + shape[at + 1 :])

    def define(self, g: Builder, x: Value, y: Value) -> Value:
        rank = max(x.rank, y.rank)
        axes, least = g.ints(self.dim % rank - rank), g.scalar(self.eps, x)
        total = g("ReduceSum", g("Mul", x, y), axes, keepdims=0)
        lengths = [g("Max", g("ReduceL2", v, axes, keepdims=0), least) for v in (x, y)]
        return g("Div", total, g("Mul", *lengths))

    @fast_path("torch")
    def functional(self, g: Builder, x: Value, y: Value) -> Any:
        return g.torch("nn.functional.cosine_similarity", x, y, dim=self.dim, eps=self.eps)
