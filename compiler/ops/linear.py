from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamina.compiler.blocked import Blocked, Joined, product
from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.initial import kaiming
from lamina.compiler.op import Example, Op, OpError, Positive, Types, Weight, fast_path, need_fixed, need_float
from lamina.schema.dims import Size, TensorType
from lamina.schema.dims import product as product_of


class Linear(Op):
    """y = x @ weight.T + bias.

    x: float [..., in], `in` fixed. y: [..., out]. weight: [out, in]; bias: [out], absent when `bias` is false. `out` may be left out
    where `weight` is given as a value.
    Source: torch.nn.Linear.
    """

    name = "linear"
    out: Positive
    bias: bool = True
    examples = (
        Example({"out": 5}, ["float32[b, 8]"]),
        Example({"out": 5}, ["float32[b, t, 8]"]),
        Example({"out": 1, "bias": False}, ["float32[b, h, w, 3]"]),
        Example({"out": 4, "bias": False}, ["float32[b, 6]"]),
        Example({"out": 4}, ["float32[6]"]),
        Example({"out": 4}, ["float16[t, 6]"]),
    )

    @classmethod
    def implied(cls, weights: Mapping[str, TensorType], given: Mapping[str, Any]) -> Mapping[str, Any]:
        weight = weights.get("weight")
        return {"out": weight.shape[0]} if weight and weight.rank == 2 else {}

    def parameters(self, x: TensorType) -> Mapping[str, Weight]:
        size = need_fixed(x.shape[-1], f"the last dim of {x}")
        weights = {"weight": Weight(TensorType(x.dtype, (self.out, size)), kaiming(size))}
        return weights | ({"bias": Weight(TensorType(x.dtype, (self.out,)), kaiming(size))} if self.bias else {})

    def infer(self, x: TensorType) -> TensorType:
        if not x.rank:
            raise OpError(f"the input must have at least one dimension, but it is {x}", "add one, as in x[None]")
        need_float(x)
        need_fixed(x.shape[-1], f"the last dim of {x}")
        return x.with_shape((*x.shape[:-1], self.out))

    def define(self, g: Builder, x: Value, *, weight: Value, bias: Value | None = None) -> Value:
        if x.rank == 2:
            return g("Gemm", x, weight, bias, transB=1)
        y = g("MatMul", x, g.transpose(weight, 1, 0))
        return y if bias is None else g("Add", y, bias)

    @fast_path("onnxruntime")
    def blocked(self, g: Builder, x: Value, *, weight: Value, bias: Value | None = None) -> Any:
        if not isinstance(weight, Blocked | Joined):
            return NotImplemented
        y = product(g, x, weight)
        return y if bias is None else g("Add", y, bias)

    @fast_path("torch")
    def functional(self, g: Builder, x: Value, *, weight: Value, bias: Value | None = None) -> Any:
        return g.torch("nn.functional.linear", x, weight, bias)

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        return product_of(inputs[0].shape) * self.out
