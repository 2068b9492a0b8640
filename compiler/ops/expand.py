from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, plus, single
from lamina.compiler.op import Example, Op, OpError, SizeArg
from lamina.schema.dims import TensorType


class Expand(Op):
    """x repeated to a larger shape: dimensions of size 1 grow, missing ones are added in front, -1 keeps a size.

    x: any dtype and shape. Source: torch.Tensor.expand.
    """

    name = "expand"
    shape: list[SizeArg]
    examples = (
        Example({"shape": ["b", 8]}, ["float32[b, 1]"]),
        Example({"shape": ["b", -1, "h", "w"]}, ["int64[3, 1, w]"]),
        Example({"shape": ["t"]}, ["float32[]"]),
        Example({"shape": [2, -1, -1]}, ["float32[b, t]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        missing = len(self.shape) - x.rank
        if missing < 0 or -1 in self.shape[:missing]:
            raise OpError(f"{x} cannot be expanded to {self._text()}", "give a size for every dimension; -1 only keeps one that x has")
        shape = (*self.shape[:missing], *(m if n == -1 else n for m, n in zip(x.shape, self.shape[missing:], strict=True)))
        if any(m not in (1, n) for m, n in zip(x.shape, shape[missing:], strict=True)):
            raise OpError(f"{x} cannot be expanded to {self._text()}: only dimensions of size 1 can grow")
        return x.with_shape(shape)

    def _text(self) -> str:
        return f"[{', '.join(map(str, self.shape))}]"

    def integers(self, y: TensorType, x: Known) -> Known:
        return plus(y.shape, x, single(0, y.rank))

    def define(self, g: Builder, x: Value) -> Value:
        shape = self.infer(TensorType(x.dtype, x.shape)).shape
        missing = len(shape) - x.rank
        # A size that stays is written as 1, which Expand leaves alone, so that no shape is read at run time.
        kept = [1 if i >= missing and x.shape[i - missing] == s else s for i, s in enumerate(shape)]
        return g("Expand", x, g.shape(kept))
