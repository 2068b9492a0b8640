from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.initial import kaiming
from lamina.compiler.op import Example, Op, OpError, Positive, Types, Weight, fast_path, need_fixed, need_float
from lamina.schema.dims import Size, TensorType, product


class Bilinear(Op):
    """z[o] = x @ weight[o] @ y + bias[o].

    x: float [..., a]; y: [..., b], the same leading dims and dtype, a and b fixed; z: [..., out]. weight: [out, a, b]; bias: [out].
    Source: torch.nn.Bilinear.
    """

    name = "bilinear"
    out: Positive
    bias: bool = True
    examples = (
        Example({"out": 5}, ["float32[b, 3]", "float32[b, 4]"]),
        Example({"out": 2, "bias": False}, ["float32[b, t, 3]", "float32[b, t, 2]"]),
        Example({"out": 1}, ["float32[t, 1]", "float32[t, 6]"]),
    )

    def parameters(self, x: TensorType, y: TensorType) -> Mapping[str, Weight]:
        a, b = self._widths(x, y)
        weights = {"weight": Weight(TensorType(x.dtype, (self.out, a, b)), kaiming(a))}
        return weights | ({"bias": Weight(TensorType(x.dtype, (self.out,)), kaiming(a))} if self.bias else {})

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        need_float(x)
        if not x.rank or x.dtype != y.dtype or x.shape[:-1] != y.shape[:-1] or x.rank != y.rank:
            raise OpError(f"both inputs must have one dtype and the same dims but the last, but they are {x} and {y}")
        self._widths(x, y)
        return x.with_shape((*x.shape[:-1], self.out))

    @staticmethod
    def _widths(x: TensorType, y: TensorType) -> tuple[int, int]:
        return need_fixed(x.shape[-1], f"the last dim of {x}"), need_fixed(y.shape[-1], f"the last dim of {y}")

    def define(self, g: Builder, x: Value, y: Value, *, weight: Value, bias: Value | None = None) -> Value:
        """x with every matrix at once, [..., out, b], then with y."""
        a, b = need_fixed(x.shape[-1], "a"), need_fixed(y.shape[-1], "b")
        flat = g("Reshape", g.transpose(weight, 1, 0, 2), g.ints(a, self.out * b))
        rows = g("Reshape", g("MatMul", x, flat), g.ints(*(0,) * (x.rank - 1), self.out, b))
        z = g("ReduceSum", g("Mul", rows, g("Unsqueeze", y, g.ints(-2))), g.ints(-1), keepdims=0)
        return z if bias is None else g("Add", z, bias)

    @fast_path("torch")
    def functional(self, g: Builder, x: Value, y: Value, *, weight: Value, bias: Value | None = None) -> Any:
        return g.torch("nn.functional.bilinear", x, y, weight, bias)

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        x, y = inputs
        total: Size = product(x.shape) * (self.out * y.shape[-1]) + product(y.shape) * self.out
        return total
