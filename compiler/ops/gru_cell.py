from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, Positive, Types, Weight, fast_path
from lamina.compiler.recurrent import cell_weights, need_state
from lamina.schema.dims import Size, TensorType


class GruCell(Op):
    """r, z = sigmoid(W x + U h); n = tanh(W_n x + b_n + r * (U_n h + c_n)); h' = (1 - z) * n + z * h.

    x: float [N, in], `in` fixed; h: [N, hidden]; the new h: like h. weight_ih: [3 * hidden, in], weight_hh: [3 * hidden, hidden],
    bias_ih, bias_hh: [3 * hidden] (absent when `bias` is false), in the order r, z, n. Source: torch.nn.GRUCell, arXiv 1406.1078.
    """

    name = "gru_cell"
    hidden: Positive
    bias: bool = True
    examples = (
        Example({"hidden": 4}, ["float32[b, 3]", "float32[b, 4]"]),
        Example({"hidden": 2, "bias": False}, ["float32[b, 5]", "float32[b, 2]"]),
        Example({"hidden": 1}, ["float32[t, 1]", "float32[t, 1]"]),
    )

    def parameters(self, x: TensorType, h: TensorType) -> Mapping[str, Weight]:
        return cell_weights(x, self.hidden, 3, bias=self.bias)

    def infer(self, x: TensorType, h: TensorType) -> TensorType:
        need_state(x, self.hidden, h=h)
        return h

    def define(
        self,
        g: Builder,
        x: Value,
        h: Value,
        *,
        weight_ih: Value,
        weight_hh: Value,
        bias_ih: Value | None = None,
        bias_hh: Value | None = None,
    ) -> Value:
        xr, xz, xn = g("Split", g("Gemm", x, weight_ih, bias_ih, transB=1), outputs=3, axis=1, num_outputs=3)
        hr, hz, hn = g("Split", g("Gemm", h, weight_hh, bias_hh, transB=1), outputs=3, axis=1, num_outputs=3)
        r, z = g("Sigmoid", g("Add", xr, hr)), g("Sigmoid", g("Add", xz, hz))
        n = g("Tanh", g("Add", xn, g("Mul", r, hn)))
        return g("Add", n, g("Mul", z, g("Sub", h, n)))

    @fast_path("torch")
    def functional(
        self,
        g: Builder,
        x: Value,
        h: Value,
        *,
        weight_ih: Value,
        weight_hh: Value,
        bias_ih: Value | None = None,
        bias_hh: Value | None = None,
    ) -> Any:
        return g.torch("gru_cell", x, h, weight_ih, weight_hh, bias_ih, bias_hh)

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        x, h = inputs
        total: Size = x.shape[0] * (x.shape[1] + h.shape[1]) * (3 * self.hidden)
        return total
