from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, moved
from lamina.compiler.op import Example, Op, OpError, SizeArg
from lamina.compiler.rules import same_count
from lamina.schema.dims import TensorType, product


class Reshape(Op):
    """The elements of x, in order, in another shape; one size may be -1 and is worked out.

    x: any dtype and shape. The number of elements must be the same for every value of the dynamic sizes. Source: torch.reshape.
    """

    name = "reshape"
    shape: list[SizeArg]
    examples = (
        Example({"shape": ["b", 2, 4]}, ["float32[b, 8]"]),
        Example({"shape": ["b", -1, "h * w"]}, ["float32[b, 3, h, w]"]),
        Example({"shape": ["b * t", 2, -1]}, ["int64[b, t, 6]"]),
        Example({"shape": ["b", 2, "h // 2", 2, "w // 2"]}, ["float32[b, h, w]"]),
        Example({"shape": []}, ["float32[1, 1]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        count = product(x.shape)
        if -1 not in self.shape:
            same_count(count, product(self.shape), f"{x} cannot become [{', '.join(map(str, self.shape))}]")
            return x.with_shape(self.shape)
        at = self.shape.index(-1)
        rest = product(s for i, s in enumerate(self.shape) if i != at)
        if self.shape.count(-1) > 1:
            raise OpError(f"`shape` is {self.shape}, but only one size may be -1")
        if rest == 0 or count % rest != 0:
            raise OpError(f"{x} has {count} elements, which {rest} does not divide for every value of the sizes")
        return x.with_shape((*self.shape[:at], count // rest, *self.shape[at + 1 :]))

    def integers(self, y: TensorType, x: Known) -> Known:
        return moved(x)

    def define(self, g: Builder, x: Value) -> Value:
        return g.reshape(x, self.infer(TensorType(x.dtype, x.shape)).shape)
