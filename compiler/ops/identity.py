from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.integers import Known
from lamina.compiler.op import Example
from lamina.schema.dims import DTYPES, TensorType


class Identity(Unary):
    """y = x. x: any dtype and shape. For a place where a block or op is due and nothing should happen. Source: torch.nn.Identity."""

    name = "identity"
    dtypes = DTYPES
    examples = (Example({}, ["float32[b, 8]"]), Example({}, ["bool[t]"]))

    def integers(self, y: TensorType, x: Known) -> Known:
        return x

    def define(self, g: Builder, x: Value) -> Value:
        return x
