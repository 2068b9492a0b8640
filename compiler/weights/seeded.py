"""Random weights as a pure function of (seed, path, shape): the same bits on every machine and in every version of NumPy.

Value k of a weight is `table[b]`, b being the k-th 16 bits of the counter-based generator Philox4x64-10, whose key is a hash of
(seed, path). The table holds 65,536 quantiles of the distribution, computed once, in float32. So a draw is two exact steps, a
counter hash and a look-up: no library of mathematical functions is asked, values can be drawn from any position, and the float16,
bfloat16 and float64 weights are the float32 ones, converted.

Limits, harmless for initialisation: a weight has at most 65,536 distinct values; a normal ends at 4.33 standard deviations, and its
standard deviation is 0.001% below the one asked for. Philox passes the usual test suites, and no stream of it repeats in practice.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import final

import numpy as np

from lamina.compiler.graph import Parameter
from lamina.compiler.numeric import numpy_dtype
from lamina.compiler.weights.tensor import PIECE, Array, Tensor, fixed_shape
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import FLOATS

VALID = "`zeros`, `ones`, `constant(c)`, `normal(std)`, `trunc_normal(std)` or `uniform(bound)`"
_VALUES = re.compile(r"values\((.*)\)", re.DOTALL)  # what `parameter` makes of a list of numbers
_INIT = re.compile(r"(zeros|ones)|(constant|normal|trunc_normal|uniform)\(([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\)")
_LEVELS = 1 << 16
_BLOCK = 1 << 16  # values drawn at a time, so that bits and indices stay in the core's cache
_PER_STEP = 16  # values in one step of the generator's counter: 256 bits
_CUT = 2.0  # torch.nn.init.trunc_normal_ cuts at -2 and 2, whatever the standard deviation


@dataclass(frozen=True, slots=True)
class Init:
    """A parsed initialiser: `constant`, `normal`, `trunc_normal` or `uniform`, and its constant, standard deviation or bound; or values."""

    distribution: str
    scale: float
    values: tuple[float, ...] = ()  # every value, in row-major order

    @staticmethod
    def parse(text: str) -> Init:
        """Read an initialiser's text. Raises Fault, naming the valid ones."""
        if listed := _VALUES.fullmatch(text):
            return Init("values", 0.0, _numbers(listed[1]))
        found = _INIT.fullmatch(text)
        if not found:
            raise Fault("init", f"`{text}` is not an initialiser", hint=f"write {VALID}")
        word, call, number = found.groups()
        if word:
            return Init("constant", float(word == "ones"))
        scale = float(number)
        if not math.isfinite(scale) or (scale < 0 and call != "constant"):
            raise Fault("init", f"`{text}` needs a finite number{'' if call == 'constant' else ' that is not negative'}")
        return Init(call, scale)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise Fault("init", "the values of `init` must be numbers, at least one", hint=f"write numbers, or {VALID}") from error
    if not all(map(math.isfinite, found)):
        raise Fault("init", "the values of `init` must be finite")
    return found


@final
@dataclass(frozen=True, slots=True)
class Seeded:
    """Weights drawn from the initialisers that the ops declare."""

    seed: int

    def get(self, parameter: Parameter) -> Tensor:
        """The parameter's tensor. Raises Fault when its initialiser is not valid, or random for an integer dtype."""
        return seeded(parameter, self.seed)


def seeded(parameter: Parameter, seed: int) -> Tensor:
    """The initial value of a parameter."""
    init, shape = Init.parse(parameter.init), fixed_shape(parameter)
    if init.distribution == "constant":
        return Filled(parameter.name, parameter.dtype, shape, init.scale)
    if init.values:
        return Listed(parameter.name, parameter.dtype, shape, init.values)
    if parameter.dtype not in FLOATS:
        raise Fault(
            "init",
            f"`{parameter.name}` is {parameter.dtype}, which cannot be drawn from {parameter.init}",
            hint="use `zeros`, `ones` or `constant(c)`",
        )
    return Drawn(parameter.name, parameter.dtype, shape, init, stream_key(seed, parameter.name))


def stream_key(seed: int, path: str) -> int:
    """The generator's 128-bit key for one weight."""
    return int.from_bytes(hashlib.sha256(f"lamina 1\0{seed}\0{path}".encode()).digest()[:16], "little")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Filled(Tensor):
    """One number everywhere."""

    value: float

    def numpy(self) -> Array:
        return np.broadcast_to(np.asarray(self.value).astype(numpy_dtype(self.dtype)), self.shape)

    def chunks(self, max_bytes: int = PIECE) -> Iterator[Array]:
        dtype = numpy_dtype(self.dtype)
        step = max(1, min(self.size, max_bytes // dtype.itemsize))
        piece = np.full(step, self.value).astype(dtype)
        return (piece[: self.size - i] for i in range(0, self.size, step))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Listed(Tensor):
    """Every value as the spec gives it: few, so they are held whole."""

    values: tuple[float, ...]

    def numpy(self) -> Array:
        return np.asarray(self.values).astype(numpy_dtype(self.dtype)).reshape(self.shape)

    def chunks(self, max_bytes: int = PIECE) -> Iterator[Array]:
        flat = self.numpy().reshape(-1)
        step = max(1, max_bytes // flat.dtype.itemsize)
        return (flat[i : i + step] for i in range(0, self.size, step))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Drawn(Tensor):
    """Random numbers from a table of quantiles."""

    init: Init
    key: int

    def numpy(self) -> Array:
        return self._draw(0, self.size).reshape(self.shape)

    def chunks(self, max_bytes: int = PIECE) -> Iterator[Array]:
        step = max(1, max_bytes // numpy_dtype(self.dtype).itemsize)
        return (self._draw(i, min(step, self.size - i)) for i in range(0, self.size, step))

    def _draw(self, start: int, count: int) -> Array:
        table = quantiles(self.init, self.dtype)
        out = np.empty(count, table.dtype)
        bits = np.random.Philox(key=self.key).advance(start // _PER_STEP)
        skip = start % _PER_STEP  # the first block ends at a step's end, so that the next one begins where the generator stands
        for low in range(-skip, count, _BLOCK):
            part = out[max(low, 0) : low + _BLOCK]
            drawn = bits.random_raw(-(-min(_BLOCK, count - low) // 4)).astype("<u8", copy=False).view("<u2")
            np.take(table, drawn[max(-low, 0) :][: part.size], out=part, mode="wrap")
        return out


@lru_cache(maxsize=64)
def quantiles(init: Init, dtype: str) -> Array:
    """The distribution's 65,536 quantiles, in ascending order: rounded to float32, then converted to `dtype`."""
    exact = {"normal": _normal, "trunc_normal": _truncated, "uniform": _uniform}[init.distribution](init.scale)
    with np.errstate(over="ignore", under="ignore"):
        return exact.astype(np.float32).astype(numpy_dtype(dtype))


def _uniform(bound: float) -> Array:
    """The middles of 65,536 equal steps from -bound to bound."""
    return (2 * np.arange(_LEVELS) + 1 - _LEVELS) / _LEVELS * bound


def _normal(std: float) -> Array:
    return standard_normal().astype(np.float64) * std


def _truncated(std: float) -> Array:
    """A normal without its tails: what is left of the standard table, stretched over 65,536 entries by integer arithmetic."""
    table = _normal(std)
    kept = table[np.abs(table) <= _CUT]
    return kept[(2 * np.arange(_LEVELS) + 1) * kept.size // (2 * _LEVELS)]


@lru_cache(maxsize=1)
def standard_normal() -> Array:
    """Quantiles of the standard normal at (i + 1/2) / 65,536, in float32.

    They are computed in float64, in which libraries may differ by a few units in the last place, and none lies near enough to the
    middle of two float32 numbers for that to change its rounding (a test proves it).
    """
    inverse = NormalDist().inv_cdf
    lower = np.array([inverse((i + 0.5) / _LEVELS) for i in range(_LEVELS // 2)]).astype(np.float32)
    return np.concatenate([lower, -lower[::-1]])
