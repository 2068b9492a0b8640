from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import Unary
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, fast_path


class Log1p(Unary):
    """y = log(1 + x), accurate near 0; nan below -1. x: float, any shape. Source: torch.log1p."""

    name = "log1p"
    examples = (
        Example({}, ["float32[b, 8]"], values="positive"),
        Example({}, ["float32[b, t, 5]"], values="positive"),
        Example({}, ["float32[b, 8]"], values="unit"),
    )

    def define(self, g: Builder, x: Value) -> Value:
        # Kahan: log(u) x / (u - 1) with u = 1 + x rounded; the rounding error of u cancels in the quotient.
        one = g.scalar(1, x)
        u = g("Add", x, one)
        step = g("Sub", u, one)
        tiny = g("Equal", step, g.scalar(0, x))
        ratio = g("Div", x, g("Where", tiny, one, step))
        near = g("Where", tiny, x, g("Mul", g("Log", u), ratio))
        return g("Where", g("Less", x, one), near, g("Log", u))

    @fast_path("torch")
    def library(self, g: Builder, x: Value) -> Value:
        return g("log1p", x, domain="torch")
