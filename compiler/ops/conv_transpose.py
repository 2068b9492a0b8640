from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.initial import kaiming
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example, NonNegative, Op, OpError, Positive, Types, Weight, fast_path, need_fixed
from lamina.compiler.windows import Counts, Window, need_images, smallest, spread, window
from lamina.schema.dims import Size, TensorType, product


class ConvTranspose(Op):
    """Transposed (fractionally strided) convolution in 1, 2 or 3 dims, by the input's rank.

    x: float [N, C, *spatial], C fixed. y: [N, out, *sizes], a size being
    (in - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1.
    weight: [C, out / groups, *kernel], which gives `out` and `kernel` where it is given as a value; bias: [out]. `output_padding` must
    be less than the stride or the dilation.
    Source: torch.nn.ConvTranspose2d.
    """

    name = "conv_transpose"
    out: Positive
    kernel: Counts
    stride: Counts = 1
    padding: NonNegative | list[NonNegative] = 0
    output_padding: NonNegative | list[NonNegative] = 0
    dilation: Counts = 1
    groups: Positive = 1
    bias: bool = True
    examples = (
        Example({"out": 4, "kernel": 2, "stride": 2}, ["float32[b, 3, h, w]"]),
        Example({"out": 4, "kernel": 3, "stride": 2, "padding": 1, "output_padding": 1}, ["float32[b, 3, h, w]"]),
        Example({"out": 6, "kernel": [3, 2], "stride": [1, 2], "groups": 2, "bias": False}, ["float32[b, 4, h, w]"]),
        Example({"out": 2, "kernel": 4, "padding": 1, "dilation": 2}, ["float32[b, 3, t]"]),
        Example({"out": 2, "kernel": 3, "stride": 2, "padding": 1, "dilation": 4, "output_padding": 3}, ["float32[b, 3, t]"]),
        Example({"out": 2, "kernel": 2, "stride": 2}, ["float32[b, 3, 2, h, w]"]),
    )

    @classmethod
    def implied(cls, weights: Mapping[str, TensorType], given: Mapping[str, Any]) -> Mapping[str, Any]:
        weight, groups = weights.get("weight"), given.get("groups", 1)
        if weight is None or weight.rank < 3 or not isinstance(groups, int):
            return {}
        return {"out": weight.shape[1] * groups, "kernel": list(weight.shape[2:])}

    def parameters(self, x: TensorType) -> Mapping[str, Weight]:
        shape = (self._channels(x), self.out // self.groups, *self._window(x).kernel)
        start = kaiming(prod(shape[1:]))  # PyTorch takes dim 1 as the fan-in here too
        weights = {"weight": Weight(TensorType(x.dtype, shape), start)}
        return weights | ({"bias": Weight(TensorType(x.dtype, (self.out,)), start)} if self.bias else {})

    def infer(self, x: TensorType) -> TensorType:
        need_images(x)
        for what, count in (("the input's channels", self._channels(x)), ("`out`", self.out)):
            if count % self.groups:
                raise OpError(f"`groups` is {self.groups}, which does not divide {what}, {count}", code="value")
        return x.with_shape((x.shape[0], self.out, *self._sizes(x)))

    def _sizes(self, x: TensorType) -> list[Size]:
        found, extra = self._window(x), spread(self.output_padding, x.rank - 2, "output_padding")
        sizes: list[Size] = []
        for i, size in enumerate(x.shape[2:]):
            if extra[i] >= max(found.stride[i], found.dilation[i]):
                raise OpError(f"`output_padding` is {extra[i]}, but it must be less than the stride or the dilation", code="value")
            sizes.append((size - 1) * found.stride[i] - 2 * found.begin[i] + found.reach(i) + extra[i])
            if smallest(sizes[-1]) < 1:
                raise OpError(f"`padding` is {found.begin[i]}, which leaves nothing of dim {i + 2} of {x}", "use less padding", "value")
        return sizes

    def _channels(self, x: TensorType) -> int:
        return need_fixed(x.shape[1], f"the number of channels, dim 1 of {x},")

    def _window(self, x: Any) -> Window:
        spread(self.padding, x.rank - 2, "padding")  # as many as spatial dims: beginnings and ends are always alike
        return window(x, self.kernel, self.stride, self.padding, self.dilation)

    def define(self, g: Builder, x: Value, *, weight: Value, bias: Value | None = None) -> Value:
        y: Value = g("ConvTranspose", self._longer(g, x), weight, bias, **self._attributes(x))
        return y

    def _longer(self, g: Builder, x: Value) -> Value:
        """x with the zeros at its ends that `output_padding` stands for, where it is more than ONNX Runtime takes: a stride or more."""
        zeros = self._zeros(x)
        return g("Pad", x, g.ints(*[0] * (x.rank + 2), *zeros), g.scalar(0, x)) if any(zeros) else x

    def _zeros(self, x: Value) -> list[int]:
        extra, stride = (spread(value, x.rank - 2, "") for value in (self.output_padding, self.stride))
        return [-(-e // s) if e >= s else 0 for e, s in zip(extra, stride, strict=True)]

    @fast_path("tensorrt")
    def in_float32(self, g: Builder, x: Value, *, weight: Value, bias: Value | None = None) -> Any:
        """TensorRT takes it in bfloat16 and then fails to build it, as it does a bias that is cast."""
        if x.dtype != "bfloat16":
            return NotImplemented
        wide, kernel = (g("Cast", v, to=ONNX_DTYPE["float32"]) for v in (self._longer(g, x), weight))
        y = g("ConvTranspose", wide, kernel, **self._attributes(x))
        if bias is not None:
            column = g("Reshape", bias, g.ints(-1, *[1] * (x.rank - 2)))
            y = g("Add", y, g("Cast", column, to=ONNX_DTYPE["float32"]))
        return g("Cast", y, to=ONNX_DTYPE["bfloat16"])

    @fast_path("tensorrt")
    def spread_out(self, g: Builder, x: Value, *, weight: Value, bias: Value | None = None) -> Any:
        """TensorRT has none that is both strided and dilated: zeros stand between the kernel's numbers instead."""
        found = self._window(x)
        if max(found.stride) == 1 or max(found.dilation) == 1:
            return NotImplemented
        sizes = [need_fixed(x.shape[1], "the channels"), self.out // self.groups, *found.kernel]
        for axis, (count, step) in enumerate(zip(found.kernel, found.dilation, strict=True), 2):
            split = g("Reshape", weight, g.ints(*sizes[:axis], count, 1, *sizes[axis + 1 :]))
            wide = g("Pad", split, g.ints(0, step - 1), g.scalar(0, x), g.ints(axis + 1))
            joined = g("Reshape", wide, g.ints(*sizes[:axis], count * step, *sizes[axis + 1 :]))
            sizes[axis] = found.reach(axis - 2)
            weight = g("Slice", joined, g.ints(0), g.ints(sizes[axis]), g.ints(axis))
        plain = {"dilations": (1,) * (x.rank - 2), "kernel_shape": tuple(sizes[2:])}
        return g("ConvTranspose", self._longer(g, x), weight, bias, **{**self._attributes(x), **plain})

    def _attributes(self, x: Value) -> dict[str, Any]:
        extra, found = spread(self.output_padding, x.rank - 2, "output_padding"), self._window(x)
        cut = [n * s and n * s - e for n, s, e in zip(self._zeros(x), found.stride, extra, strict=True)]
        found = replace(found, end=tuple(p + c for p, c in zip(found.end, cut, strict=True)))
        extra = tuple(0 if n else e for n, e in zip(self._zeros(x), extra, strict=True))
        return found.attributes() | ({"output_padding": extra} if any(extra) else {}) | {"group": self.groups}

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        return product(inputs[0].shape) * (self.out // self.groups * prod(self._window(inputs[0]).kernel))
