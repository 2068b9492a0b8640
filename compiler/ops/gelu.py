from __future__ import annotations

import math
from typing import Any, Literal

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, fast_path


class Gelu(Unary):
    """y = x * Phi(x), Phi the normal distribution function, or its tanh form. x: float, any shape. Source: torch.nn.functional.gelu."""

    name = "gelu"
    approximate: Literal["none", "tanh"] = "none"
    examples = (Example({}, ["float32[b, 8]"]), Example({"approximate": "tanh"}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        return g("Gelu", x, approximate=self.approximate)

    @fast_path("onnx", "onnxruntime")
    def tanh_in_float64(self, g: Builder, x: Value) -> Any:
        """In parts: there is no kernel of float64, and the constants of what ONNX Runtime puts in its place are of float32."""
        if x.dtype != "float64" or self.approximate == "none":
            return NotImplemented
        cubic = g("Mul", g("Mul", g("Mul", x, x), x), g.scalar(0.044715, x))
        share = g("Tanh", g("Mul", g("Add", x, cubic), g.scalar(math.sqrt(2 / math.pi), x)))
        return g("Mul", g("Mul", x, g.scalar(0.5, x)), g("Add", share, g.scalar(1.0, x)))
