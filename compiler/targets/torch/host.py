"""Shape arithmetic on the host: integer operators over an int (rank 0) or a tuple of ints (rank 1).

The values start at `Shape` and at int64 constants. Under torch.compile and torch.export they are SymInts, so a reshape by a
computed shape traces with dynamic sizes; in eager mode plain integers are also faster than one-element tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

Host = int | tuple[int, ...]
Ranks = Callable[[Sequence[int], Mapping[str, Any]], int | None]
INT64 = 7


@dataclass(frozen=True, slots=True)
class HostRule:
    """An operator on host values. `rank` gives the result's rank from the inputs' ranks, or None to decline."""

    function: Callable[..., Any]
    rank: Ranks


RULES: dict[str, HostRule] = {}


def rule(name: str, rank: Ranks) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function on host values."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        RULES[name] = HostRule(function, rank)
        return function

    return register


def _widest(ranks: Sequence[int], attributes: Mapping[str, Any]) -> int | None:
    return max(ranks)


def _one(ranks: Sequence[int], attributes: Mapping[str, Any]) -> int | None:
    return 1


def _reduced(ranks: Sequence[int], attributes: Mapping[str, Any]) -> int | None:
    return attributes.get("keepdims", 1) if ranks[0] == 1 and not attributes.get("noop_with_empty_axes") else None


def elementwise(function: Callable[..., int]) -> Callable[..., Host]:
    """Extend a function of integers to tuples, with broadcasting."""

    def apply(*values: Host) -> Host:
        rows = [v for v in values if isinstance(v, tuple)]
        if not rows:
            return function(*values)
        longer = [len(row) for row in rows if len(row) != 1]
        length = longer[0] if longer else 1
        columns = [(v * length if len(v) == 1 else v) if isinstance(v, tuple) else (v,) * length for v in values]
        return tuple(function(*column) for column in zip(*columns, strict=True))

    apply.__name__ = getattr(function, "__name__", "apply").strip("<>")
    return apply


def _divide(a: int, b: int) -> int:
    """ONNX divides integers towards zero."""
    return a // b if (a >= 0) == (b > 0) else -(-a // b)


def _modulo(a: int, b: int, fmod: int = 0) -> int:
    return a - b * _divide(a, b) if fmod else a % b


_ELEMENTWISE: Mapping[str, Callable[..., int]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": _divide,
    "Max": torch.sym_max,
    "Min": torch.sym_min,
    "Neg": lambda a: -a,
    "Abs": abs,
    "Identity": lambda a: a,
}
for _name, _function in _ELEMENTWISE.items():
    RULES[_name] = HostRule(elementwise(_function), _widest)


@rule("Mod", _widest)
def mod(a: Host, b: Host, *, fmod: int = 0) -> Host:
    return elementwise(lambda m, n: _modulo(m, n, fmod))(a, b)


@rule("Cast", lambda ranks, attributes: ranks[0] if attributes["to"] == INT64 else None)
def cast(x: Host, *, to: int, saturate: int = 1) -> Host:
    return x


@rule("Concat", _one)
def concat(*xs: tuple[int, ...], axis: int = 0) -> Host:
    return tuple(v for x in xs for v in x)


@rule("Squeeze", lambda ranks, attributes: 0)
def squeeze(x: Host, axes: Host = ()) -> Host:
    if not isinstance(x, tuple):
        return x
    (value,) = x
    return value


@rule("Unsqueeze", lambda ranks, attributes: 1 if ranks[0] == 0 else None)
def unsqueeze(x: int, axes: Host = ()) -> Host:
    return (x,)


@rule("Gather", lambda ranks, attributes: ranks[1])
def gather(x: tuple[int, ...], indices: Host, *, axis: int = 0) -> Host:
    return tuple(x[i] for i in indices) if isinstance(indices, tuple) else x[indices]


@rule("Slice", _one)
def slice_(x: tuple[int, ...], starts: Host, ends: Host, axes: Host = (), steps: Host = 1) -> Host:
    (start,), (end,), (step,) = (v if isinstance(v, tuple) else (v,) for v in (starts, ends, steps))
    return x[start:end:step]


@rule("ReduceProd", _reduced)
def reduce_prod(x: tuple[int, ...], axes: Host = (), *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Host:
    return (math.prod(x),) if keepdims else math.prod(x)


@rule("ReduceSum", _reduced)
def reduce_sum(x: tuple[int, ...], axes: Host = (), *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Host:
    return (sum(x),) if keepdims else sum(x)
