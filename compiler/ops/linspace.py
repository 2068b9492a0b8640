from __future__ import annotations

from typing import Literal

import numpy as np

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example, Op, SizeArg
from lamina.compiler.rules import as_scalar, integers_below, sizes
from lamina.schema.dims import TensorType


class Linspace(Op):
    """`steps` numbers from `start` to `end`, both included, evenly spaced; `steps` may be dynamic, one step is `start`.

    Source: torch.linspace.
    """

    name = "linspace"
    start: float
    end: float
    steps: SizeArg
    dtype: Literal["float64", "float32", "float16", "bfloat16"] = "float32"
    examples = (
        Example({"start": -1.0, "end": 1.0, "steps": 5}, []),
        Example({"start": 0.0, "end": 3.0, "steps": "t"}, []),
        Example({"start": 2.0, "end": 1.0, "steps": "b"}, []),
        Example({"start": 2.0, "end": 1.0, "steps": 1}, []),
    )

    def infer(self) -> TensorType:
        return TensorType(self.dtype, sizes([self.steps]))

    def define(self, g: Builder) -> Value:
        if isinstance(self.steps, int):
            return g.constant(np.linspace(self.start, self.end, self.steps), self.dtype)
        place = g("Cast", integers_below(g, self.steps), to=ONNX_DTYPE[self.dtype])
        gaps = g("Max", as_scalar(g, self.steps - 1, self.dtype), g.constant(1, self.dtype))
        width = g.constant(self.end - self.start, self.dtype)
        return g("Add", g("Div", g("Mul", place, width), gaps), g.constant(self.start, self.dtype))
