from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, moved
from lamina.compiler.op import Example, Op, OpError, SizeArg
from lamina.compiler.rules import at_most, axes_of
from lamina.schema.dims import Size, TensorType


class Roll(Op):
    """y[i] = x[i - shift], cyclic, along each of `dims`.

    `shifts` and `dims`: one number, or lists of one length. A fixed shift of a dynamic size must be within it. x: any dtype, any shape.
    Source: torch.roll.
    """

    name = "roll"
    shifts: SizeArg | list[SizeArg]
    dims: int | list[int]
    examples = (
        Example({"shifts": 3, "dims": 1}, ["float32[b, 8]"]),
        Example({"shifts": [-2, 11], "dims": [1, 2]}, ["float32[b, t, 8]"]),
        Example({"shifts": ["h // 2", "w // 2"], "dims": [-2, -1]}, ["float32[b, h, w]"]),
        Example({"shifts": 0, "dims": 0}, ["int64[t]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        self._shifts(x)
        return x

    def _shifts(self, x: TensorType) -> list[tuple[int, Size]]:
        """Axes, and by how much each is shifted: between 0 and the size."""
        axes, shifts = axes_of(self.dims, x), self.shifts if isinstance(self.shifts, list) else [self.shifts]
        if len(axes) != len(shifts):
            raise OpError(f"`shifts` names {len(shifts)} shifts, `dims` {len(axes)} dimensions", "give one shift for each dimension")
        return [(i, self._shift(shift, x.shape[i])) for i, shift in zip(axes, shifts, strict=True)]

    def _shift(self, shift: Size, size: Size) -> Size:
        if isinstance(shift, int) and isinstance(size, int):
            return shift % size if size else 0
        if not at_most(0, shift):
            shift = shift + size
        if not (at_most(0, shift) and at_most(shift, size)):
            raise OpError(f"a shift of {shift} goes beyond the size {size}", "write the shift modulo the size")
        return shift

    def integers(self, y: TensorType, x: Known) -> Known:
        return moved(x)

    def define(self, g: Builder, x: Value) -> Value:
        shape = x.shape
        for i, shift in self._shifts(TensorType(x.dtype, shape)):
            if shift == 0:
                continue
            cut = g.size(shape[i] - shift)
            x = g("Concat", g("Slice", x, cut, g.ints(2**63 - 1), g.ints(i)), g("Slice", x, g.ints(0), cut, g.ints(i)), axis=i)
        return x
