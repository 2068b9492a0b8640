from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import BOOL, ORDERED, need_dtype, need_held
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, SizeArg
from lamina.compiler.rules import at_most
from lamina.schema.dims import Size, TensorType


class Pad(Op):
    """x with more elements at both ends of its last dimensions.

    `amounts`: one entry for each of the last dimensions, in order, each a number for both sides or [before, after];
    a single number pads every dimension after the second, as in an image.
    `mode`: `constant` (of `value`), `reflect` (without the edge), `edge` or `wrap`.
    x: any dtype but int16, any shape. Source: torch.nn.functional.pad; onnx Pad.
    """

    name = "pad"
    amounts: SizeArg | list[SizeArg | list[SizeArg]]
    mode: Literal["constant", "reflect", "edge", "wrap"] = "constant"
    value: float = 0.0
    examples = (
        Example({"amounts": 1}, ["float32[b, 3, h, w]"]),
        Example({"amounts": [2, [0, 3]], "value": -1.5}, ["float32[b, 8, t]"]),
        Example({"amounts": [[1, 2]], "mode": "reflect"}, ["float32[b, t]"]),
        Example({"amounts": [1, [2, 0]], "mode": "edge"}, ["float32[b, 3, h, w]"]),
        Example({"amounts": [1, [2, 0]], "mode": "wrap"}, ["float32[b, 3, h, w]"]),
        Example({"amounts": [["-t % 4", "t // 2"], 0], "mode": "wrap"}, ["float32[b, t, 3]"]),
        Example({"amounts": [["h", 1]]}, ["int64[b, h]"]),
        Example({"amounts": [[0, "-t % 4"], 0]}, ["float32[b, t, 3]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        pairs = self._pairs(x)
        need_dtype(x, (*ORDERED, *BOOL))
        need_held(self.value, x.dtype, "value")
        for size, pair in zip(x.shape, pairs, strict=True):
            self._check(size, pair, x)
        return x.with_shape(size + before + after for size, (before, after) in zip(x.shape, pairs, strict=True))

    def _pairs(self, x: TensorType) -> list[tuple[Size, Size]]:
        """Before and after for every dimension of x."""
        given = self.amounts if isinstance(self.amounts, list) else [self.amounts] * max(x.rank - 2, 0)
        if not given or len(given) > x.rank or any(isinstance(a, list) and len(a) != 2 for a in given):
            raise OpError(
                f"`amounts` is {self.amounts}, which does not fit {x}", "give one number or [before, after] for each of the last dimensions"
            )
        pairs: list[tuple[Size, Size]] = [(a[0], a[1]) if isinstance(a, list) else (a, a) for a in given]
        return [(0, 0)] * (x.rank - len(pairs)) + pairs

    def _check(self, size: Size, pair: tuple[Size, Size], x: TensorType) -> None:
        limit = {"reflect": size - 1, "wrap": size}.get(self.mode)
        for amount in pair:
            if not at_most(0, amount):
                raise OpError(f"`amounts` holds {amount}, but it must not be negative", "use slice to drop elements")
            if limit is not None and not at_most(amount, limit):
                raise OpError(f"`{self.mode}` can pad {size} elements by at most {limit}, not {amount} (in {x})")

    def define(self, g: Builder, x: Value) -> Value:
        pairs = self._pairs(TensorType(x.dtype, x.shape))
        if self.mode == "wrap":
            return self._wrap(g, x, pairs)
        axes = [i for i, pair in enumerate(pairs) if pair != (0, 0)]
        if not axes:
            return x
        amounts = g.shape([pairs[i][side] for side in (0, 1) for i in axes])
        value = g.scalar(self.value, x) if self.mode == "constant" else None
        return g("Pad", x, amounts, value, g.ints(*axes), mode=self.mode)

    def _wrap(self, g: Builder, x: Value, pairs: Sequence[tuple[Size, Size]]) -> Value:
        """As slices and joins: few runtimes know Pad's own mode."""
        shape = x.shape
        for i, (before, after) in enumerate(pairs):
            start = -before if isinstance(before, int) else shape[i] - before
            head = [g("Slice", x, g.size(start), g.ints(2**63 - 1), g.ints(i))] if before != 0 else []
            tail = [g("Slice", x, g.ints(0), g.size(after), g.ints(i))] if after != 0 else []
            x = g("Concat", *head, x, *tail, axis=i) if head or tail else x
        return x
