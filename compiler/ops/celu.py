from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example


class Celu(Unary):
    """y = max(x, 0) + min(0, alpha * (e^(x / alpha) - 1)), alpha > 0. x: float, any shape. Source: torch.nn.functional.celu."""

    name = "celu"
    alpha: Annotated[float, Field(gt=0)] = 1.0
    examples = (Example({}, ["float32[b, 8]"]), Example({"alpha": 0.5}, ["float32[b, 3, h, w]"]))

    def define(self, g: Builder, x: Value) -> Value:
        alpha = g.scalar(self.alpha, x)
        return g("Mul", alpha, g("Elu", g("Div", x, alpha)))
