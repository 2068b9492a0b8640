from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, moved
from lamina.compiler.op import Example, Op, OpError, SizeArg
from lamina.compiler.rules import at_most
from lamina.schema.dims import TensorType


class Tile(Op):
    """x repeated `repeats[i]` times along the i-th dimension (the last ones, if `repeats` is shorter). x: any dtype. Source: torch.tile."""

    name = "tile"
    repeats: list[SizeArg]
    examples = (
        Example({"repeats": [2, 3]}, ["float32[b, 8]"]),
        Example({"repeats": ["t"]}, ["int64[b, 3]"]),
        Example({"repeats": [2, 1, 2]}, ["float32[t]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        if not all(at_most(0, r) for r in self.repeats):
            raise OpError(f"`repeats` is {self.repeats}, but a number of repeats is not negative")
        missing = len(self.repeats) - x.rank
        sizes, repeats = [1] * missing + [*x.shape], [1] * -missing + [*self.repeats]
        return x.with_shape(s * r for s, r in zip(sizes, repeats, strict=True))

    def integers(self, y: TensorType, x: Known) -> Known:
        return moved(x)

    def define(self, g: Builder, x: Value) -> Value:
        missing = len(self.repeats) - x.rank
        x = x if missing <= 0 else g("Unsqueeze", x, g.ints(*range(missing)))
        return g("Tile", x, g.shape([*[1] * -missing, *self.repeats]))
