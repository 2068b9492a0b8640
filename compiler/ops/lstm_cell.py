from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, Positive, Types, Weight
from lamina.compiler.recurrent import cell_weights, need_state
from lamina.schema.dims import Size, TensorType


class LstmCell(Op):
    """i, f, o = sigmoid(W x + U h); g = tanh(W_g x + U_g h); c' = f * c + i * g; h' = o * tanh(c').

    x: float [N, in], `in` fixed; h, c: [N, hidden]; the new h and c: like them. weight_ih: [4 * hidden, in], weight_hh:
    [4 * hidden, hidden], bias_ih, bias_hh: [4 * hidden] (absent when `bias` is false), in the order i, f, g, o. Source: torch.nn.LSTMCell.
    """

    name = "lstm_cell"
    hidden: Positive
    bias: bool = True
    examples = (
        Example({"hidden": 4}, ["float32[b, 3]", "float32[b, 4]", "float32[b, 4]"]),
        Example({"hidden": 2, "bias": False}, ["float32[b, 5]", "float32[b, 2]", "float32[b, 2]"]),
        Example({"hidden": 1}, ["float32[t, 1]", "float32[t, 1]", "float32[t, 1]"]),
    )

    def parameters(self, x: TensorType, h: TensorType, c: TensorType) -> Mapping[str, Weight]:
        return cell_weights(x, self.hidden, 4, bias=self.bias)

    def infer(self, x: TensorType, h: TensorType, c: TensorType) -> tuple[TensorType, TensorType]:
        need_state(x, self.hidden, h=h, c=c)
        return h, c

    def define(
        self,
        g: Builder,
        x: Value,
        h: Value,
        c: Value,
        *,
        weight_ih: Value,
        weight_hh: Value,
        bias_ih: Value | None = None,
        bias_hh: Value | None = None,
    ) -> tuple[Value, Value]:
        total = g("Add", g("Gemm", x, weight_ih, bias_ih, transB=1), g("Gemm", h, weight_hh, bias_hh, transB=1))
        i, f, new, o = g("Split", total, outputs=4, axis=1, num_outputs=4)
        kept, added = g("Mul", g("Sigmoid", f), c), g("Mul", g("Sigmoid", i), g("Tanh", new))
        cell = g("Add", kept, added)
        return g("Mul", g("Sigmoid", o), g("Tanh", cell)), cell

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        x, h, _ = inputs
        total: Size = x.shape[0] * (x.shape[1] + h.shape[1]) * (4 * self.hidden)
        return total
