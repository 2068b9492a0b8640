"""Sliding windows over spatial dims: what convolutions and poolings share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lamina.compiler.op import NonNegative, Op, OpError, Positive, need_float, need_rank
from lamina.schema.dims import Dim, Size, TensorType

Counts = Positive | list[Positive]
Padding = Literal["same", "valid"] | NonNegative | list[NonNegative]


@dataclass(frozen=True, slots=True)
class Window:
    """Kernel, stride, dilation and explicit padding, one number per spatial dim."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    automatic: bool = False  # ceil(size / stride) windows, whose padding only the run-time size tells: `begin` and `end` are zeros

    def reach(self, i: int) -> int:
        """How many elements the dilated kernel spans in spatial dim `i`."""
        return self.dilation[i] * (self.kernel[i] - 1) + 1

    def sizes(self, x: TensorType, *, ceil: bool = False) -> tuple[Size, ...]:
        """The number of windows in each spatial dim. Raises `OpError` where the smallest input holds none."""
        if self.automatic:
            return tuple((size + s - 1) // s for size, s in zip(x.shape[2:], self.stride, strict=True))
        return tuple(self._size(x, i, ceil) for i in range(len(self.kernel)))

    def _size(self, x: TensorType, i: int, ceil: bool) -> Size:
        padded, span, stride = x.shape[i + 2] + self.begin[i] + self.end[i], self.reach(i), self.stride[i]
        if smallest(padded) < span:
            raise OpError(
                f"the window spans {span} elements, but dim {i + 2} of {x} can be as small as {smallest(x.shape[i + 2])} "
                f"(padding adds {self.begin[i] + self.end[i]})",
                "raise the `min` of the size in `dims`, add padding, or use a smaller kernel",
            )
        # With ceil, a last partial window counts unless it would start in the padding at the end.
        extra = min(stride - 1, span - 1 - self.end[i]) if ceil else 0
        return (padded - span + extra) // stride + 1

    def attributes(self, *, pads: bool = True) -> dict[str, Any]:
        """ONNX's attributes, without those that say nothing."""
        found = {"kernel_shape": self.kernel}
        if any(s != 1 for s in self.stride):
            found["strides"] = self.stride
        if any(d != 1 for d in self.dilation):
            found["dilations"] = self.dilation
        if pads and any(self.begin + self.end):
            found["pads"] = self.begin + self.end
        return found | ({"auto_pad": "SAME_UPPER"} if self.automatic else {})


def window(x: TensorType, kernel: Counts, stride: Counts, padding: Padding, dilation: Counts = 1, *, automatic: bool = False) -> Window:
    """The window for an input `[N, C, *spatial]`. Raises `OpError` when a list has the wrong length or `same` cannot be kept.

    `automatic` says that the caller's operator can find the padding of `same` at run time.
    """
    n = x.rank - 2
    kernels, strides, dilations = spread(kernel, n, "kernel"), spread(stride, n, "stride"), spread(dilation, n, "dilation")
    if padding == "same":
        if automatic and any(isinstance(size % s, Dim) for size, s in zip(x.shape[2:], strides, strict=True)):
            return Window(kernels, strides, dilations, (0,) * n, (0,) * n, automatic=True)
        totals = [_same(x, i, kernels[i], strides[i], dilations[i]) for i in range(n)]
        begin = tuple(t // 2 for t in totals)
        return Window(kernels, strides, dilations, begin, tuple(t - b for t, b in zip(totals, begin, strict=True)))
    if isinstance(padding, list) and len(padding) == 2 * n:
        return Window(kernels, strides, dilations, tuple(padding[:n]), tuple(padding[n:]))
    both = spread(0 if padding == "valid" else padding, n, "padding")
    return Window(kernels, strides, dilations, both, both)


def spread(value: int | list[int], n: int, what: str) -> tuple[int, ...]:
    """One number per spatial dim, from a number for all or a list."""
    if isinstance(value, int):
        return (value,) * n
    if len(value) != n:
        raise OpError(f"`{what}` is {value}, but the input has {n} spatial dimensions", f"give one number, or a list of {n}")
    return tuple(value)


def smallest(size: Size) -> int:
    """The size when every dim it depends on is at its declared minimum."""
    if not isinstance(size, Dim):
        return size
    return size.evaluate({s.name: -(-s.min // s.multiple_of) * s.multiple_of for s in size.symbols})


def need_images(x: TensorType) -> None:
    """Raise unless `x` is floating point `[N, C, *spatial]` with one to three spatial dims."""
    need_rank(x, (3, 4, 5), "the input (batch, channels, then 1 to 3 spatial sizes)")
    need_float(x)


def _same(x: TensorType, i: int, kernel: int, stride: int, dilation: int) -> int:
    """Padding that leaves ceil(size / stride) windows."""
    remainder = x.shape[i + 2] % stride
    if isinstance(remainder, Dim):
        raise OpError(
            f"`padding` is 'same' and `stride` is {stride}, but dim {i + 2} of {x} is not known to be a multiple of {stride}",
            f"declare multiple_of: {stride} in `dims`, or give the padding as numbers",
        )
    return max(dilation * (kernel - 1) + 1 - (remainder or stride), 0)


class Pool(Op):
    """A reduction of every window. `stride` is the kernel's size unless given; `padding` may be at most half the kernel, or 'same'."""

    kernel: Counts
    stride: Counts | None = None
    padding: Padding = 0
    ceil_mode: bool = False

    def infer(self, x: TensorType) -> TensorType:
        need_images(x)
        return x.with_shape((*x.shape[:2], *self.window(x).sizes(x, ceil=self.ceil_mode)))

    def window(self, x: Any) -> Window:
        """The window for an input of this type."""
        return self.fitting(x, 1)

    def fitting(self, x: Any, dilation: Counts) -> Window:
        """The window with this dilation. Raises `OpError` where it does not fit."""
        if self.padding == "same" and self.ceil_mode:
            raise OpError("`padding` is 'same', so every element is in a window without `ceil_mode`", "drop `ceil_mode`", "value")
        stride = self.kernel if self.stride is None else self.stride
        return self.halved(window(x, self.kernel, stride, self.padding, dilation, automatic=True))

    @staticmethod
    def halved(found: Window) -> Window:
        """The window itself. Raises `OpError` where padding exceeds half of the kernel: such a window could hold padding alone."""
        for kernel, begin, end in zip(found.kernel, found.begin, found.end, strict=True):
            if 2 * max(begin, end) > kernel:
                raise OpError(
                    f"`padding` is {max(begin, end)}, more than half of the kernel's {kernel}", f"use at most {kernel // 2}", "value"
                )
        return found
