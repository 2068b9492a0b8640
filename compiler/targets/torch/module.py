"""A graph as a trainable `torch.nn.Module`."""

from __future__ import annotations

from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import Tensor, nn

from lamina.compiler.graph import Constant, Graph, Origin, Parameter
from lamina.compiler.targets.torch.arrays import from_numpy, torch_dtype
from lamina.compiler.targets.torch.build import build


class Array(Protocol):
    """A weight's values; what `Weights.get` returns."""

    def numpy(self) -> np.ndarray[Any, Any]: ...


class Weights(Protocol):
    """Where the values of parameters come from."""

    def get(self, parameter: Parameter) -> Array: ...


def to_module(graph: Graph, weights: Weights | None = None, kept: Container[str] | None = None) -> LaminaModule:
    """The decomposed graph as a module in train mode, as PyTorch's constructors give it.

    Without weights its parameters are on the `meta` device: fill them with `load_state_dict(..., assign=True)`. `kept` are the outputs
    that eval mode has, if not all. Raises SpecError where an operator has no lowering.
    """
    return LaminaModule(graph, weights, kept)


@final
class LaminaModule(nn.Module):
    """Computes a graph. Weights are parameters (buffers where they are not trainable) under their paths in the spec.

    `forward` takes the graph's inputs in order or by name, and returns a tensor where the graph has one output, else a
    dictionary by output name. In train mode Dropout is active, BatchNormalization updates its statistics, and there are outputs that
    eval mode has not. With `wide`, everything is computed in float64.
    """

    def __init__(self, graph: Graph, weights: Weights | None = None, kept: Container[str] | None = None, *, wide: bool = False) -> None:
        super().__init__()
        program = build(graph, wide)
        self.input_names = tuple(v.name for v in graph.inputs)
        self.output_names = tuple(v.name for v in graph.outputs)
        self._kept = [kept is None or name in kept for name in self.output_names]
        # Not a submodule: it has no weights, and its name would stand in the way of a path of the spec.
        self.__dict__["_program"] = program.module()
        self._origins: dict[str, Origin] = {}
        self._slots = [self._place(leaf, origin, weights, wide) for leaf, origin in program.leaves.items()]

    @property
    def code(self) -> str:
        """The generated program, for reading."""
        return str(self.__dict__["_program"].code)

    @property
    def origins(self) -> Mapping[str, Origin]:
        """Where each parameter and buffer comes from, by its name in the module: the step that declares it, or first reads a constant."""
        return MappingProxyType(self._origins)

    def origin(self, line: str) -> Origin | None:
        """Where a line of the code comes from."""
        name = line.strip().partition(" ")[0]
        return next((node.meta.get("origin") for node in self.__dict__["_program"].graph.nodes if node.name == name), None)

    def forward(self, *positional: Tensor, **named: Tensor) -> Tensor | dict[str, Tensor]:
        """Raises TypeError when an input is missing, unknown or given twice."""
        inputs = self._bind(positional, named) if named or len(positional) != len(self.input_names) else positional
        results = self.__dict__["_program"](self.training, *inputs, *(_fetch(owner, leaf) for owner, leaf in self._slots))
        found = {n: r for n, r, kept in zip(self.output_names, results, self._kept, strict=True) if kept or self.training}
        return next(iter(found.values())) if len(found) == 1 else found

    def _bind(self, positional: tuple[Tensor, ...], named: dict[str, Tensor]) -> list[Tensor]:
        given = {**dict(zip(self.input_names, positional, strict=False)), **named}
        if given.keys() != set(self.input_names) or len(positional) + len(named) != len(self.input_names):
            found = f"{len(positional)} by position and {sorted(named)} by name"
            raise TypeError(f"the inputs are {', '.join(self.input_names)}; given were {found}")
        return [given[name] for name in self.input_names]

    def _place(self, leaf: Parameter | Constant, origin: Origin, weights: Weights | None, wide: bool) -> tuple[nn.Module, str]:
        """Store a tensor and say where: parameters under their path, constants as buffers that no state dict holds."""
        name = f"_constant_{len(self._buffers)}" if isinstance(leaf, Constant) else leaf.name
        self._origins[name] = origin
        if isinstance(leaf, Constant):
            self.register_buffer(name, _widen(from_numpy(leaf.array), wide), persistent=False)
            return self, name
        *scopes, name = leaf.name.split(".")
        owner: nn.Module = self
        for scope in scopes:
            owner = _child(owner, scope)
        tensor = _widen(_value(leaf, weights), wide)
        if leaf.trainable and tensor.is_floating_point():
            owner._parameters[name] = nn.Parameter(tensor)
        else:
            owner._buffers[name] = tensor
        return owner, name


@final
class Scope(nn.Module):
    """One part of a weight's path. Its children may have names that `nn.Module` uses, such as `forward`."""


def _child(owner: nn.Module, name: str) -> nn.Module:
    child = owner._modules.get(name)
    if child is None:
        child = owner._modules[name] = Scope()
        if isinstance(owner, Scope):
            owner.__dict__[name] = child  # found before a method of that name
    return child


def _fetch(owner: nn.Module, name: str) -> Tensor:
    for held in (owner._parameters, owner._buffers):
        if (tensor := held.get(name)) is not None:
            return tensor
    return getattr(owner, name)  # type: ignore[no-any-return]  # a parametrization took its place


def _value(parameter: Parameter, weights: Weights | None) -> Tensor:
    if weights is not None:
        return from_numpy(weights.get(parameter).numpy())
    shape = [int(size) for size in parameter.shape if isinstance(size, int)]
    return torch.empty(shape, dtype=torch_dtype(parameter.dtype), device="meta")


def _widen(tensor: Tensor, wide: bool) -> Tensor:
    return tensor.double() if wide and tensor.is_floating_point() else tensor
