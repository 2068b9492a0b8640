from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.initial import kaiming
from lamina.compiler.op import Example, Op, OpError, Types, Weight, fast_path, need_fixed, need_float, need_rank
from lamina.schema.dims import Size, TensorType, bounds, product

_SHORT = 32  # steps


class CausalConv1d(Op):
    """y[t] = bias + the sum over j of weight[j] * x[t - kernel + 1 + j], for every channel. The last inputs are a second result.

    x, y: float [N, C, T], C fixed. state, what came before x (zeros unless given), and its successor: [N, C, kernel - 1].
    weight: [C, 1, kernel]; bias: [C]. Source: ONNX CausalConvWithState-27, arXiv 2312.00752.
    """

    name = "causal_conv1d"
    kernel: Annotated[int, Field(ge=2)]
    bias: bool = True
    examples = (
        Example({"kernel": 4}, ["float32[b, 6, t]", "float32[b, 6, 3]"]),
        Example({"kernel": 3, "bias": False}, ["float32[b, 5, t]"]),
        Example({"kernel": 6}, ["float32[b, 2, t]", "float32[b, 2, 5]"]),
        Example({"kernel": 4}, ["float32[b, 6, 1]", "float32[b, 6, 3]"]),
    )

    @classmethod
    def implied(cls, weights: Mapping[str, TensorType], given: Mapping[str, Any]) -> Mapping[str, Any]:
        weight = weights.get("weight")
        return {"kernel": weight.shape[-1]} if weight and weight.rank == 3 else {}

    def parameters(self, x: TensorType, state: TensorType | None = None) -> Mapping[str, Weight]:
        channels, start = need_fixed(x.shape[1], f"the number of channels, dim 1 of {x},"), kaiming(self.kernel)
        weights = {"weight": Weight(TensorType(x.dtype, (channels, 1, self.kernel)), start)}
        return weights | ({"bias": Weight(TensorType(x.dtype, (channels,)), start)} if self.bias else {})

    def infer(self, x: TensorType, state: TensorType | None = None) -> tuple[TensorType, TensorType]:
        need_rank(x, 3, "the input (batch, channels, time)")
        need_float(x)
        need_fixed(x.shape[1], f"the number of channels, dim 1 of {x},")
        last = x.with_shape((*x.shape[:2], self.kernel - 1))
        if state is not None and state != last:
            raise OpError(f"the state must be {last} (`kernel` is {self.kernel}), but it is {state}")
        return x, last

    def define(self, g: Builder, x: Value, state: Value | None = None, *, weight: Value, bias: Value | None = None) -> tuple[Value, Value]:
        before = self.kernel - 1
        whole = g("Pad", x, g.ints(before, 0), None, g.ints(2)) if state is None else g("Concat", state, x, axis=2)
        y = g("Conv", whole, weight, bias, group=need_fixed(x.shape[1], "C"))
        return y, g("Slice", whole, g.ints(-before), g.ints(2**63 - 1), g.ints(2))

    @fast_path("onnxruntime")
    def kernel_with_state(self, g: Builder, x: Value, state: Value | None = None, *, weight: Value, bias: Value | None = None) -> Any:
        """ONNX Runtime's own, where there are few steps: a convolution takes longer to start than one step."""
        if x.dtype != "float32" or bounds(x.shape[2])[1] > _SHORT:
            return NotImplemented
        return g("CausalConvWithState", x, weight, bias, state, outputs=2, domain="com.microsoft")

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        return product(inputs[0].shape) * self.kernel
