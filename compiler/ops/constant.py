from __future__ import annotations

from math import prod

import numpy as np

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import need_held
from lamina.compiler.graph import Value
from lamina.compiler.integers import Integers, Known
from lamina.compiler.op import Example, NonNegative, Op, OpError
from lamina.schema.dims import DType, TensorType


class Constant(Op):
    """The tensor of these numbers, in row-major order: a fixed filter, a table, an image's mean colour.

    values: numbers, or true and false. shape: one dimension unless it is given. It is no weight, so that no checkpoint holds it.
    Source: torch.tensor.
    """

    name = "constant"
    values: list[bool | int | float]
    shape: list[NonNegative] | None = None
    dtype: DType = "float32"
    examples = (
        Example({"values": [0.5, -1, 2.25]}, []),
        Example({"values": [1, 1, 1, -1, 0, 7], "shape": [2, 1, 3], "dtype": "int64"}, []),
        Example({"values": [True, False], "dtype": "bool"}, []),
        Example({"values": [3], "shape": []}, []),
    )

    def infer(self) -> TensorType:
        for i, value in enumerate(self.values):
            need_held(value, self.dtype, f"values[{i}]", "write dtype='float32'")
        if prod(self._shape()) != len(self.values):
            raise OpError(f"`values` has {len(self.values)} numbers, but the shape {self.shape} holds {prod(self._shape())}", code="value")
        return TensorType(self.dtype, self._shape())

    def _shape(self) -> tuple[int, ...]:
        return (len(self.values),) if self.shape is None else tuple(self.shape)

    def integers(self, y: TensorType) -> Known:
        return Integers(int(min(self.values)), int(max(self.values)), True) if self.values else None

    def define(self, g: Builder) -> Value:
        return g.constant(np.reshape(self.values, self._shape()), self.dtype)
