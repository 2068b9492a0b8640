from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example, fast_path


class Heaviside(Unary):
    """y = 1 where x >= 0, else 0, with the derivative of a smooth step where it is trained: the PyTorch module alone knows of it.

    x: float, any shape. With a = `alpha`, the steepness, the `surrogate` is `atan`, whose derivative is (a / 2) / (1 + (pi / 2 * a * x)^2);
    `sigmoid`, a * s(a * x) * (1 - s(a * x)); `triangle`, a * max(0, 1 - |a * x|); `rectangle`, a where |a * x| < 1 / 2, else 0; or `none`,
    which is 0 everywhere. Source: torch.heaviside; arXiv 2007.05785 (atan), 1901.09948 (the others).
    """

    name = "heaviside"
    surrogate: Literal["none", "atan", "sigmoid", "triangle", "rectangle"] = "none"
    alpha: Annotated[float, Field(gt=0)] = 2.0
    examples = (
        Example({}, ["float32[b, 8]"]),
        Example({"surrogate": "atan"}, ["float32[b, 3, h, w]"]),
        Example({"surrogate": "sigmoid", "alpha": 4.0}, ["float32[b, t]"]),
        Example({"surrogate": "triangle", "alpha": 0.7}, ["float32[b, 8]"]),
        Example({"surrogate": "rectangle"}, ["float32[b, 8]"]),
    )

    def define(self, g: Builder, x: Value) -> Value:
        return g("Cast", g("GreaterOrEqual", x, g.scalar(0, x)), to=ONNX_DTYPE[x.dtype])

    @fast_path("module")
    def trained(self, g: Builder, x: Value) -> Any:
        """The step, plus a smooth one less itself: 0, but for its gradient."""
        if self.surrogate == "none":
            return NotImplemented
        smooth = self._smooth(g, x)
        return g("Add", self.define(g, x), g("Sub", smooth, g.torch("detach", smooth)))

    @fast_path("torch")
    def flat(self, g: Builder, x: Value) -> Value:
        """The same with a gradient, 0: of a comparison there is none, and what lies before it would have none either."""
        return g("Clip", g("Add", g("Sign", x), g.scalar(1, x)), None, g.scalar(1, x))

    def _smooth(self, g: Builder, x: Value) -> Value:
        """A function of bounded values with the surrogate's derivative."""
        scaled = g("Mul", x, g.scalar(self.alpha, x))
        if self.surrogate == "sigmoid":
            return g("Sigmoid", scaled)
        if self.surrogate == "atan":
            return g("Mul", g("Atan", g("Mul", scaled, g.scalar(math.pi / 2, x))), g.scalar(1 / math.pi, x))
        bound = 1.0 if self.surrogate == "triangle" else 0.5
        inside = g("Clip", scaled, g.scalar(-bound, x), g.scalar(bound, x))
        if self.surrogate == "rectangle":
            return inside
        return g("Sub", inside, g("Mul", g("Mul", inside, g("Abs", inside)), g.scalar(0.5, x)))
