from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Literal

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.initial import kaiming
from lamina.compiler.op import Example, Op, OpError, Positive, Types, Weight, need_fixed
from lamina.compiler.rules import at_most
from lamina.compiler.windows import Counts, Padding, Window, need_images, window
from lamina.schema.dims import Size, TensorType, product

PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


class Conv(Op):
    """Cross-correlation in 1, 2 or 3 dims, by the input's rank.

    x: float [N, C, *spatial], C fixed. y: [N, out, *windows]. weight: [out, C / groups, *kernel]; bias: [out].
    `kernel`, `stride`, `dilation` are a number or one per spatial dim. `padding` is a number, one per spatial dim, all beginnings then
    all ends, 'valid' (none) or 'same' (ceil(size / stride) windows, the odd element at the end). `padding_mode` fills it. `out` and
    `kernel` may be left out where `weight` is given as a value. `groups` divides C and `out`; groups = C is a depthwise convolution.
    Source: torch.nn.Conv2d.
    """

    name = "conv"
    out: Positive
    kernel: Counts
    stride: Counts = 1
    padding: Padding = 0
    dilation: Counts = 1
    groups: Positive = 1
    bias: bool = True
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros"
    examples = (
        Example({"out": 4, "kernel": 3}, ["float32[b, 3, h, w]"]),
        Example({"out": 4, "kernel": 3, "stride": 2, "padding": 1}, ["float32[b, 3, h, w]"]),
        Example({"out": 6, "kernel": [3, 5], "padding": [1, 2], "groups": 3, "bias": False}, ["float32[b, 3, h, w]"]),
        Example({"out": 4, "kernel": 4, "padding": "same"}, ["float32[b, 3, h, w]"]),
        Example({"out": 4, "kernel": 3, "padding": "same", "stride": 2}, ["float32[b, 3, h, w]"]),
        Example({"out": 4, "kernel": 5, "padding": "same", "stride": 2}, ["float32[b, 3, h, t]"]),
        Example({"out": 4, "kernel": 3, "padding": [2, 0], "dilation": 1}, ["float32[b, 3, t]"]),
        Example({"out": 4, "kernel": 2, "padding": "valid"}, ["float32[b, 2, 4, h, w]"]),
        Example({"out": 4, "kernel": 3, "padding": 2, "dilation": 2, "padding_mode": "reflect"}, ["float32[b, 4, h, w]"]),
        Example({"out": 4, "kernel": 3, "padding": 1, "padding_mode": "replicate"}, ["float32[b, 4, t]"]),
        Example({"out": 4, "kernel": 3, "padding": 1, "padding_mode": "circular"}, ["float32[b, 4, h, w]"]),
    )

    @classmethod
    def implied(cls, weights: Mapping[str, TensorType], given: Mapping[str, Any]) -> Mapping[str, Any]:
        weight = weights.get("weight")
        return {"out": weight.shape[0], "kernel": list(weight.shape[2:])} if weight and weight.rank > 2 else {}

    def parameters(self, x: TensorType) -> Mapping[str, Weight]:
        shape = (self.out, self._channels(x) // self.groups, *self._window(x).kernel)
        start = kaiming(prod(shape[1:]))
        weights = {"weight": Weight(TensorType(x.dtype, shape), start)}
        return weights | ({"bias": Weight(TensorType(x.dtype, (self.out,)), start)} if self.bias else {})

    def infer(self, x: TensorType) -> TensorType:
        need_images(x)
        for what, count in (("the input's channels", self._channels(x)), ("`out`", self.out)):
            if count % self.groups:
                raise OpError(f"`groups` is {self.groups}, which does not divide {what}, {count}", code="value")
        found = self._window(x)
        for i, amounts in enumerate(zip(found.begin, found.end, strict=True), start=2):
            self._check_padding(x, i, max(amounts))
        return x.with_shape((x.shape[0], self.out, *found.sizes(x)))

    def _check_padding(self, x: TensorType, i: int, amount: int) -> None:
        """What is there may be repeated once."""
        limit = {"reflect": x.shape[i] - 1, "circular": x.shape[i]}.get(self.padding_mode)
        if limit is not None and not at_most(amount, limit):
            raise OpError(f"`{self.padding_mode}` can pad {x.shape[i]} elements by at most {limit}, not {amount} (dim {i} of {x})")

    def _channels(self, x: TensorType) -> int:
        return need_fixed(x.shape[1], f"the number of channels, dim 1 of {x},")

    def _window(self, x: Any) -> Window:
        automatic = self.padding_mode == "zeros"
        return window(x, self.kernel, self.stride, self.padding, self.dilation, automatic=automatic)

    def define(self, g: Builder, x: Value, *, weight: Value, bias: Value | None = None) -> Value:
        found, zeros = self._window(x), self.padding_mode == "zeros"
        if not zeros:
            x = g("Pad", x, g.ints(0, 0, *found.begin, 0, 0, *found.end), mode=PAD_MODES[self.padding_mode])
        y: Value = g("Conv", x, weight, bias, group=self.groups, **found.attributes(pads=zeros))
        return y

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        assert isinstance(output, TensorType)
        return product(output.shape) * (self._channels(inputs[0]) // self.groups * prod(self._window(inputs[0]).kernel))
