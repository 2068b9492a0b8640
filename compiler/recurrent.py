"""Recurrent cells: the weights and shape rules they share."""

from __future__ import annotations

from lamina.compiler.initial import kaiming
from lamina.compiler.op import OpError, Weight, need_fixed, need_float, need_rank
from lamina.schema.dims import TensorType


def cell_weights(x: TensorType, hidden: int, gates: int, *, bias: bool) -> dict[str, Weight]:
    """PyTorch's four weights of a cell, all uniform within 1 / sqrt(hidden)."""
    size, start = need_fixed(x.shape[1], f"the width, dim 1 of {x},"), kaiming(hidden)
    shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates * hidden, size), "weight_hh": (gates * hidden, hidden)}
    shapes |= {"bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,)} if bias else {}
    return {name: Weight(TensorType(x.dtype, shape), start) for name, shape in shapes.items()}


def need_state(x: TensorType, hidden: int, **states: TensorType) -> None:
    """Raise unless x is [N, in] and every state is [N, hidden] of the same dtype."""
    need_rank(x, 2, "the input (batch, width)")
    need_float(x)
    need_fixed(x.shape[1], f"the width, dim 1 of {x},")
    wanted = x.with_shape((x.shape[0], hidden))
    for name, state in states.items():
        if state != wanted:
            raise OpError(f"the state {name} must be {wanted} (`hidden` is {hidden}), but it is {state}")
