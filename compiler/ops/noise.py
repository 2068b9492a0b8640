from __future__ import annotations

from typing import Literal

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, fast_path, need_float
from lamina.schema.dims import TensorType


class Noise(Op):
    """y = x; in PyTorch's train mode a random number is added to each element, of mean 0 and standard deviation 1, or from -1 to 1.

    x: float, any shape. y: like x. Multiply it to scale it: `scores + spread * noise(zeros_like(scores))` is a noisy gate,
    `x * (1 + 0.01 * noise(zeros_like(x), 'uniform'))` a jitter. Source: torch.randn_like; arXiv 1701.06538, 2101.03961.
    """

    name = "noise"
    kind: Literal["normal", "uniform"] = "normal"
    examples = (
        Example({}, ["float32[b, 8]"]),
        Example({"kind": "uniform"}, ["float16[b, t, 8]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        need_float(x)
        return x

    def define(self, g: Builder, x: Value) -> Value:
        return g("Identity", x)

    @fast_path("torch")
    def added(self, g: Builder, x: Value) -> Value:
        return g("noise", x, domain="torch", kind=self.kind)
