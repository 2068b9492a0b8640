"""How operators find their lowering.

A lowering is one function under `lowerings/`, under the operator's name; `torch.NAME` is what `Builder.torch` calls where PyTorch has
no such function. Its positional parameters are the operator's inputs, its keyword-only parameters are the attributes, with ONNX's
defaults. The annotations say how a value is handed over:

* `Tensor`         the tensor.
* `Ints`           sizes, axes, pads: a tuple of integers (SymInts under torch.compile and torch.export), so that shape
                   arithmetic never becomes a tensor whose values the tracer cannot see.
* `Floats`         a tuple of numbers, such as Resize's scales.
* `Tensor | int`   the integer where it is a scalar that shape arithmetic knows, else the tensor.
* `Scalar`         a literal where the value is a constant of the graph, else the tensor.

Each may be `| None` where the input is optional; `*xs: Tensor` takes any number. A lowering that returns `Ints` or `int`
yields such a host value, one that returns a tuple has several outputs. Three keyword names are context, not attributes:
`device`, `training` and `outputs` (how many outputs are wanted).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, get_type_hints

from torch import Tensor

Ints = tuple[int, ...]
Floats = tuple[float, ...]
Scalar = Tensor | float | int
Function = TypeVar("Function", bound=Callable[..., Any])
CONTEXT = frozenset({"device", "training", "outputs"})


class Kind(Enum):
    """The form in which a lowering wants an input."""

    TENSOR = "tensor"
    INTS = "ints"
    FLOATS = "floats"
    INDEX = "index"
    SCALAR = "scalar"


_KINDS: tuple[tuple[Any, Kind], ...] = (
    (Tensor, Kind.TENSOR),
    (Ints, Kind.INTS),
    (Floats, Kind.FLOATS),
    (Tensor | int, Kind.INDEX),
    (Scalar, Kind.SCALAR),
)


class Result(Enum):
    """What a lowering returns."""

    TENSOR = "a tensor"
    SEVERAL = "a tuple of tensors"
    INTS = "a tuple of integers"
    INT = "an integer"


_RESULTS: Mapping[Any, Result] = {Tensor: Result.TENSOR, Ints: Result.INTS, int: Result.INT}


@dataclass(frozen=True, slots=True)
class Lowering:
    """One operator's function and how to call it. The last of `kinds` repeats when `variadic`."""

    function: Callable[..., Any]
    kinds: tuple[Kind, ...]
    variadic: bool = False
    attributes: frozenset[str] = frozenset()
    context: frozenset[str] = frozenset()
    result: Result = Result.TENSOR

    def kind(self, index: int) -> Kind:
        """The form of the input at that position. Raises IndexError when the operator takes fewer."""
        return self.kinds[min(index, len(self.kinds) - 1) if self.variadic else index]


_LOWERINGS: dict[str, Lowering] = {}


def lowering(*names: str) -> Callable[[Function], Function]:
    """Register a function as the lowering of these standard operators."""

    def register(function: Function) -> Function:
        _LOWERINGS.update(dict.fromkeys(names, _read(function)))
        return function

    return register


def direct(functions: Mapping[str, Callable[..., Any]], inputs: int = 1) -> None:
    """Register operators without attributes that one PyTorch function computes."""
    for name, function in functions.items():
        _LOWERINGS[name] = Lowering(function, (Kind.TENSOR,) * inputs)


def find(name: str) -> Lowering | None:
    """The lowering of an operator, or None."""
    return known().get(name)


@cache
def known() -> Mapping[str, Lowering]:
    """Every lowering, found by importing each file of the `lowerings` folder."""
    package = importlib.import_module(f"{__package__}.lowerings")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return _LOWERINGS


def _read(function: Callable[..., Any]) -> Lowering:
    hints = get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    inputs = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
    keywords = frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    variadic = any(p.kind is p.VAR_POSITIONAL for p in inputs)
    result = _RESULTS.get(hints["return"], Result.SEVERAL)
    kinds = tuple(_kind(hints[p.name]) for p in inputs)
    return Lowering(function, kinds, variadic, keywords - CONTEXT, keywords & CONTEXT, result)


def _kind(hint: Any) -> Kind:
    return next(kind for form, kind in _KINDS if hint in (form, form | None))
