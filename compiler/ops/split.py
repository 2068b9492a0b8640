from __future__ import annotations

from collections.abc import Sequence

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, some
from lamina.compiler.op import Example, Op, OpError, Positive, SizeArg, axis
from lamina.compiler.rules import at_most
from lamina.schema.dims import Dim, Size, TensorType


class Split(Op):
    """Parts of x along `dim`: a number of equal ones, or one for each size in a list.

    x: any dtype and shape; y: as many tensors. A list's sizes must add up to the dimension's. Source: torch.split, torch.chunk.
    """

    name = "split"
    parts: Positive | list[SizeArg]
    dim: int = -1
    examples = (
        Example({"parts": 2}, ["float32[b, 8]"]),
        Example({"parts": [1, 5, 2]}, ["float32[b, t, 8]"]),
        Example({"parts": 4, "dim": 2}, ["int64[b, 3, h, w]"]),
        Example({"parts": ["t - 1", 1], "dim": 1}, ["float32[b, t]"]),
        Example({"parts": 1}, ["float32[b, 8]"]),
    )

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        at = axis(self.dim, x)
        return tuple(x.with_shape((*x.shape[:at], s, *x.shape[at + 1 :])) for s in self._sizes(x, x.shape[at]))

    def _sizes(self, x: TensorType, size: Size) -> Sequence[Size]:
        if isinstance(self.parts, int):
            if size % self.parts != 0:
                raise OpError(f"{size} cannot be split into {self.parts} equal parts (dimension {self.dim} of {x})")
            return [size // self.parts] * self.parts
        total = sum(self.parts)
        if total != size:
            raise OpError(f"the parts {', '.join(map(str, self.parts))} add up to {total}, but dimension {self.dim} of {x} has size {size}")
        if not all(at_most(0, part) for part in self.parts):
            raise OpError(f"the parts {', '.join(map(str, self.parts))} must not be negative")
        return self.parts

    def integers(self, y: tuple[TensorType, ...], x: Known) -> tuple[Known, ...]:
        return (some(x),) * len(y)

    def define(self, g: Builder, x: Value) -> tuple[Value, ...]:
        sizes = [t.shape[self.dim] for t in self.infer(TensorType(x.dtype, x.shape))]
        if len(sizes) == 1:
            return (x,)
        if isinstance(self.parts, int) and isinstance(sizes[0], Dim):
            return g("Split", x, outputs=len(sizes), axis=self.dim, num_outputs=len(sizes))
        return g("Split", x, g.shape(sizes), outputs=len(sizes), axis=self.dim)
