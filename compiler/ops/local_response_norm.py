from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, Positive, need_float, need_rank
from lamina.schema.dims import TensorType


class LocalResponseNorm(Op):
    """y = x / (k + alpha / size * sum of x^2 over the `size` nearest channels) ^ beta.

    x: float [N, C, H, W]. y: like x. `size` is odd. Source: torch.nn.LocalResponseNorm, AlexNet.
    """

    name = "local_response_norm"
    size: Positive
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0
    examples = (
        Example({"size": 5}, ["float32[b, 8, h, w]"]),
        Example({"size": 3, "alpha": 0.5, "beta": 0.5, "k": 2.0}, ["float32[b, 6, h, w]"]),
        Example({"size": 1, "alpha": 1.0}, ["float32[b, 2, h, t]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        need_rank(x, 4, "the input (batch, channels, height, width)")
        need_float(x)
        if self.size % 2 == 0:
            raise OpError(f"`size` is {self.size}, but it must be odd: a channel and as many on either side", code="value")
        return x

    def define(self, g: Builder, x: Value) -> Value:
        return g("LRN", x, size=self.size, alpha=self.alpha, beta=self.beta, bias=self.k)
