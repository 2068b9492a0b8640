from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Literal

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, NonNegative, Op, OpError, Weight
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import FLOATS, DType, TensorType


class Parameter(Op):
    """A weight as a value; its path is the step's own name.

    shape: fixed sizes. init: `zeros`, `ones`, `constant(c)`, `normal(std)`, `trunc_normal(std)` or `uniform(bound)`; where the number
    is computed, a list of the two, such as `[uniform, dim ** -0.5]`; or a list of numbers, the values themselves in row-major order.
    `trainable` false makes it a buffer, as are integers and bools. Source: torch.nn.Parameter.
    """

    name = "parameter"
    shape: list[NonNegative]
    init: str | list[Literal["constant", "normal", "trunc_normal", "uniform"] | float] = "zeros"
    dtype: DType = "float32"
    trainable: bool = True
    examples = (
        Example({"shape": [3, 8], "init": "normal(0.02)"}, []),
        Example({"shape": [4], "init": "constant(3)", "dtype": "int64", "trainable": False}, []),
        Example({"shape": [2, 2], "init": [0.5, -1.0, 2.25, 1e-3]}, []),
        Example({"shape": [3], "init": ["uniform", 0.25]}, []),
    )

    def parameters(self) -> Mapping[str, Weight]:
        return {"": Weight(self.infer(), self._text(), self.trainable)}

    def _text(self) -> str:
        """The initialiser as a weight carries it."""
        if isinstance(self.init, str):
            return self.init
        word, numbers = (self.init[0], self.init[1:]) if self.init and isinstance(self.init[0], str) else ("values", self.init)
        return f"{word}({', '.join(map(str, numbers))})"

    def infer(self) -> TensorType:
        # Only a spec with parameters of its own pays for this import.
        from lamina.compiler.weights.seeded import Init

        try:
            init = Init.parse(self._text())
        except Fault as fault:
            raise OpError(fault.message, fault.hint, fault.code) from fault
        if init.values and len(init.values) != prod(self.shape):
            raise OpError(f"`init` has {len(init.values)} numbers, but the shape {self.shape} holds {prod(self.shape)}", code="value")
        if self.dtype not in FLOATS and init.distribution not in ("constant", "values"):
            raise OpError(f"`init` is {self._text()}, but {self.dtype} is not floating point", "use zeros, ones or constant(c)", "dtype")
        return TensorType(self.dtype, tuple(self.shape))

    def define(self, g: Builder, **weights: Value) -> Value:
        return weights[""]
