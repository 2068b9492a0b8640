"""Models of JAX as modules of PyTorch, whose weights are parameters, for scripts `make_*.py`. Needs `pip install jax`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch


class Call(torch.autograd.Function):
    """A JAX function of arrays, and the one of its gradients."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], backwards: Callable[..., Any], *tensors: torch.Tensor) -> Any:
        ctx.backwards, ctx.arrays = backwards, [jax.numpy.asarray(t.detach().numpy()) for t in tensors]
        return tuple(torch.from_numpy(np.array(array)) for array in function(*ctx.arrays))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        found = ctx.backwards(ctx.arrays, tuple(jax.numpy.asarray(g.numpy()) for g in gradients))
        return None, None, *(torch.from_numpy(np.array(array)) for array in found)


class Called(torch.nn.Module):
    """A function of an input and weights by name, to a tuple of arrays."""

    def __init__(self, function: Callable[..., Any], shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            place(self, name, torch.zeros(shape))
        names = [name for name, _ in self.named_parameters()]

        def of_arrays(x: Any, *weights: Any) -> Any:
            return function(x, dict(zip(names, weights, strict=True)))

        self.function = jax.jit(of_arrays)
        self.backwards = jax.jit(lambda arrays, gradients: jax.vjp(of_arrays, *arrays)[1](gradients))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found: tuple[torch.Tensor, ...] = Call.apply(self.function, self.backwards, x, *self.parameters())
        return found


def place(module: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    """A parameter at a path."""
    *parents, last = name.split(".")
    for part in parents:
        if not hasattr(module, part):
            module.add_module(part, torch.nn.Module())
        module = getattr(module, part)
    assert not hasattr(module, last), name
    module.register_parameter(last, torch.nn.Parameter(value))
