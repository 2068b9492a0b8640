from __future__ import annotations

from collections.abc import Mapping

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, NonNegative, Op, OpError, Weight
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import FLOATS, DType, TensorType


class Parameter(Op):
    """A weight as a value; its path is the step's own name.

    shape: fixed sizes. init: `zeros`, `ones`, `constant(c)`, `normal(std)`, `trunc_normal(std)` or `uniform(bound)`.
    `trainable` false makes it a buffer. Source: torch.nn.Parameter.
    """

    name = "parameter"
    shape: list[NonNegative]
    init: str = "zeros"
    dtype: DType = "float32"
    trainable: bool = True
    examples = (
        Example({"shape": [3, 8], "init": "normal(0.02)"}, []),
        Example({"shape": [4], "init": "constant(3)", "dtype": "int64", "trainable": False}, []),
    )

    def parameters(self) -> Mapping[str, Weight]:
        return {"": Weight(self.infer(), self.init, self.trainable)}

    def infer(self) -> TensorType:
        # Only a spec with parameters of its own pays for this import.
        from lamina.compiler.weights.seeded import Init

        try:
            init = Init.parse(self.init)
        except Fault as fault:
            raise OpError(fault.message, fault.hint, fault.code) from fault
        if self.dtype not in FLOATS and init.distribution != "constant":
            raise OpError(f"`init` is {self.init}, but {self.dtype} is not floating point", "use zeros, ones or constant(c)", "dtype")
        return TensorType(self.dtype, tuple(self.shape))

    def define(self, g: Builder, **weights: Value) -> Value:
        return weights[""]
