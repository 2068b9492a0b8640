from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import need_held
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known, evenly
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example, Op, OpError, Positive, SizeArg
from lamina.compiler.rules import as_scalar, at_most
from lamina.schema.dims import DType, Size, TensorType


class Arange(Op):
    """start, start + step, ... below `end`; arange(n) counts from 0 to n - 1. y: [ceil((end - start) / step)], ends may be dynamic.

    Source: torch.arange.
    """

    name = "arange"
    start: SizeArg = 0
    end: SizeArg | None = None
    step: Positive = 1
    dtype: DType = "int64"
    examples = (
        Example({"start": 5}, []),
        Example({"start": "t"}, []),
        Example({"start": 2, "end": 11, "step": 3, "dtype": "float32"}, []),
        Example({"start": "t // 2", "end": "t + 1", "step": 2, "dtype": "int32"}, []),
        Example({"start": -3, "end": "b"}, []),
    )

    def infer(self) -> TensorType:
        start, end = self._ends()
        if not at_most(start, end):
            raise OpError(f"the range from {start} to {end} is empty", "`start` must not be larger than `end`")
        for what, size in (("start", start), ("end - 1", end - 1)):
            if isinstance(size, int):
                need_held(size, self.dtype, what, "write dtype='int64'")
        return TensorType(self.dtype, ((end - start + self.step - 1) // self.step,))

    def _ends(self) -> tuple[Size, Size]:
        return (0, self.start) if self.end is None else (self.start, self.end)

    def integers(self, y: TensorType) -> Known:
        return evenly(y.shape, self._ends()[0], [self.step])

    def define(self, g: Builder) -> Value:
        start, end = self._ends()
        if isinstance(start, int) and isinstance(end, int) and end - start <= 1 << 16:
            return g.constant(range(start, end, self.step), self.dtype)
        y = g("Range", as_scalar(g, start, "int64"), as_scalar(g, end, "int64"), g.constant(self.step, "int64"))
        return y if self.dtype == "int64" else g("Cast", y, to=ONNX_DTYPE[self.dtype])
