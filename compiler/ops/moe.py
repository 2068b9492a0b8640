from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamina.compiler.body import BlockArg
from lamina.compiler.builder import Builder
from lamina.compiler.cost import macs_of_graph
from lamina.compiler.elementwise import need_dtype
from lamina.compiler.experts import Experts, Routed, by_groups, by_pieces, by_tiles, everywhere
from lamina.compiler.graph import Value
from lamina.compiler.grouped import by_kernel, by_loop
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example, Op, OpError, Positive, Types, Weight, fast_path, need_fixed, need_float
from lamina.schema.dims import Dim, Size, Symbol, TensorType
from lamina.schema.dims import product as product_of

_ROWS = "rows'"  # of the tokens that an expert sees: no name that a file could give


class Moe(Op):
    """y[t] = the sum over j of weight[t, j] * expert_c(x[t]), with c = choice[t, j]: each token goes to the experts that it chooses, alone.

    x: float [..., D]; weight: of x's dtype, [..., k]; choice: int64 or int32, [..., k]; y: [..., M]. `expert` is any block of one input,
    [rows, D] to [rows, M], each row by itself. There are `count` copies of it with weights of their own, at the paths `0`, `1`, ... under
    the step's; modules of the place around are shared by all. A choice outside 0 to count - 1, by custom -1, is nobody's, and costs
    nothing; an expert that is chosen twice counts twice. Work follows k, not `count`, and no token is dropped.
    Source: arXiv 1701.06538, 2211.15841.
    """

    name = "moe"
    expert: BlockArg
    count: Positive
    examples = (
        Example({"expert": [{"linear": 5}], "count": 3}, ["float32[t, 6]", "float32[t, 2]", "int64[t, 2]"], values="index:3"),
        Example(
            {"expert": [{"linear": 8}, "gelu", {"linear": {"out": 6, "bias": False}}], "count": 3},
            ["float32[b, t, 6]", "float32[b, t, 2]", "int64[b, t, 2]"],
            values="index:5",
        ),
        Example(
            {"expert": ["layer_norm", "silu(linear(x, 4, name='gate')) * linear(x, 4, name='up')"], "count": 2},
            ["float32[t, 3]", "float32[t, 1]", "int32[t, 1]"],
            values="index:2",
        ),
    )

    @classmethod
    def hands(cls, x: TensorType, weight: TensorType, choice: TensorType) -> tuple[TensorType, ...]:
        need_float(x)
        if x.rank < 2:
            raise OpError(f"the tokens must be [..., D], but they are {x}")
        need_dtype(weight, (x.dtype,), "the weights of choices")
        need_dtype(choice, ("int64", "int32"), "the choice")
        if weight.shape != choice.shape or choice.shape[:-1] != x.shape[:-1]:
            raise OpError(f"the weights {weight} and the choice {choice} must be of one shape, [..., k] for tokens {x}")
        return (TensorType(x.dtype, (Dim.of(Symbol(_rows(x))), need_fixed(x.shape[-1], f"the last dim of {x}"))),)

    def parameters(self, x: TensorType, weight: TensorType, choice: TensorType) -> Mapping[str, Weight]:
        return {f"{number}.{name}": w for number in range(self.count) for name, w in self.expert.weights.items()}

    def infer(self, x: TensorType, weight: TensorType, choice: TensorType) -> TensorType:
        (rows,) = self.hands(x, weight, choice)
        made = [value.type for value in self.expert.graph.outputs]
        if len(made) != 1 or made[0] is None or made[0].rank != 2 or made[0].shape[0] != rows.shape[0] or made[0].dtype != x.dtype:
            raise OpError(f"an expert must make {x.dtype}[rows', M] of {rows}, but this one makes {', '.join(map(str, made))}")
        return x.with_shape((*x.shape[:-1], need_fixed(made[0].shape[1], "what an expert makes")))

    def define(self, g: Builder, x: Value, weight: Value, choice: Value, **weights: Value) -> Value:
        return self._shaped(g, x, everywhere(g, self._routed(g, x, weight, choice, weights)))

    @fast_path("onnxruntime")
    def by_kernel(self, g: Builder, x: Value, weight: Value, choice: Value, **weights: Value) -> Any:
        """Our own kernel, where the experts' operators have a form by rows."""
        y = by_groups(g, self._routed(g, x, weight, choice, weights), by_kernel) if x.dtype == "float32" else None
        return NotImplemented if y is None else self._shaped(g, x, y)

    @fast_path("module")
    def by_loop(self, g: Builder, x: Value, weight: Value, choice: Value, **weights: Value) -> Any:
        """The same by PyTorch's products."""
        y = by_groups(g, self._routed(g, x, weight, choice, weights), by_loop)
        return NotImplemented if y is None else self._shaped(g, x, y)

    @fast_path("onnx", "onnxruntime", "module")
    def by_pieces(self, g: Builder, x: Value, weight: Value, choice: Value, **weights: Value) -> Value:
        """Each expert sees the tokens that chose it."""
        return self._shaped(g, x, by_pieces(g, self._routed(g, x, weight, choice, weights)))

    @fast_path("torch")
    def exported(self, g: Builder, x: Value, weight: Value, choice: Value, **weights: Value) -> Any:
        """By pieces, but in loops, and where experts have loops: torch.export would have to know sizes there."""
        loops = g.looped or any(node.bodies for node in self.expert.graph.all_nodes())
        return NotImplemented if loops else self.by_pieces(g, x, weight, choice, **weights)

    @fast_path("tensorrt")
    def by_tiles(self, g: Builder, x: Value, weight: Value, choice: Value, **weights: Value) -> Value:
        """No size depends on the choice."""
        return self._shaped(g, x, by_tiles(g, self._routed(g, x, weight, choice, weights)))

    def _routed(self, g: Builder, x: Value, weight: Value, choice: Value, weights: Mapping[str, Value]) -> Routed:
        """Flat tokens."""
        size, chosen = x.shape[-1], choice.shape[-1]
        tokens = product_of(x.shape[:-1])
        wide = choice if choice.dtype == "int64" else g("Cast", choice, to=ONNX_DTYPE["int64"])
        flat = (x, weight, wide)
        if x.rank > 2:
            flat = (_flat(g, x, tokens, size), _flat(g, weight, tokens, chosen), _flat(g, wide, tokens, chosen))
        return Routed(*flat, tokens, chosen, x.dtype, Experts(self.expert, self.count, weights))

    def _shaped(self, g: Builder, x: Value, y: Value) -> Value:
        """What flat tokens became, in the shape of the tokens."""
        return y if x.rank == 2 else g.reshape(y, [*x.shape[:-1], self.expert.graph.outputs[0].shape[-1]])

    def macs(self, inputs: Sequence[Any], output: Types) -> Size:
        """Of the tokens' choices, as if all were some expert's."""
        x, _, choice = inputs
        work = macs_of_graph(self.expert.graph)
        return work.with_dim(_rows(x), product_of(choice.shape)) if isinstance(work, Dim) else work


def _flat(g: Builder, x: Value, tokens: Size, size: Size) -> Value:
    """[tokens, size], and known to be."""
    if isinstance(tokens, Dim) and isinstance(size, Dim):
        return g("Reshape", x, g.shape([tokens, size]))
    return g("Reshape", x, g.shape([-1, size] if isinstance(tokens, Dim) else [tokens, -1]))


def _rows(x: TensorType) -> str:
    """The name of the number of tokens that an expert sees; where x are themselves tokens of an expert, another."""
    around = [s.name for size in x.shape if isinstance(size, Dim) for s in size.symbols if s.name.startswith(_ROWS)]
    return max([f"{name}'" for name in around], default=_ROWS)
