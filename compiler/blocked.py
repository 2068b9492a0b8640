"""Matrices kept as blocks of small integers: what their parts are, and which weights they stand for.

A row of K numbers is cut into groups; a number is `scale * (code - zero) + minimum`. Codes are unsigned, and `zero` is half of their range
unless groups have zeros of their own. This is the layout of com.microsoft.MatMulNBits, beside which the minima are one product more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Parameter, Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.schema.dims import TensorType

Part = Literal["codes", "scales", "zeros", "minima"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a matrix is cut: bits of a code (4 or 8), numbers in a group, and whether groups have minima or zeros of their own.

    What a matrix that is `exact` multiplies is not rounded.
    """

    bits: int
    group: int
    minima: bool = False
    zeros: bool = False
    exact: bool = False

    @property
    def parts(self) -> tuple[Part, ...]:
        return ("codes", "scales", *(("zeros",) if self.zeros else ()), *(("minima",) if self.minima else ()))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Blocked(Parameter):
    """A weight [N, K] that is to be kept in blocks where an op can read them."""

    layout: Layout = field(default_factory=lambda: Layout(4, 32))

    def part(self, part: Part) -> BlockPart:
        """codes: uint8 [N, K / group, group * bits / 8]; scales: [N, K / group]; zeros: uint8 [N, bytes]; minima: [K / group, N]."""
        rows, columns = (size for size in self.shape if isinstance(size, int))
        groups, bits = columns // self.layout.group, self.layout.bits
        types = {
            "codes": TensorType("uint8", (rows, groups, self.layout.group * bits // 8)),
            "scales": TensorType("float32", (rows, groups)),
            "zeros": TensorType("uint8", (rows, -(-groups * bits // 8))),
            "minima": TensorType("float32", (groups, rows)),
        }
        return BlockPart(f"{self.name}.{part}", types[part], trainable=False, origin=self.origin, whole=self, part=part)


@final
@dataclass(frozen=True, slots=True, eq=False)
class BlockPart(Parameter):
    """One part of a weight that is kept in blocks."""

    whole: Blocked = None  # type: ignore[assignment]  # always given; a default is needed after Parameter's
    part: Part = "codes"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Joined(Value):
    """Weights of one layout and width, one below the other."""

    pieces: tuple[Blocked, ...] = ()

    @staticmethod
    def of(pieces: Sequence[Blocked]) -> Joined:
        """The pieces as one weight."""
        rows = sum(size for piece in pieces for size in piece.shape[:1] if isinstance(size, int))
        return Joined(f"{pieces[0].name}/joined", TensorType(pieces[0].dtype, (rows, pieces[0].shape[1])), tuple(pieces))


def product(g: Builder, x: Value, weight: Blocked | Joined) -> Value:
    """x @ weight.T with ONNX Runtime's kernel, which rounds x to 8 bits in groups as it goes.

    Minima take a product of their own: of the sums of x's groups, which all matrices that x is multiplied by share.
    Where the layout is exact, 4 bits have a kernel that does not round. The one of 8 bits is a hundred times slower, so there x is read in
    two parts: what the kernel would round it to, and what is left.
    """
    rows, columns = (size for size in weight.shape if isinstance(size, int))
    pieces = weight.pieces if isinstance(weight, Joined) else (weight,)
    layout, groups = pieces[0].layout, columns // pieces[0].layout.group

    def part(name: Part) -> Value:
        parts = [piece.part(name) for piece in pieces]
        return parts[0] if len(parts) == 1 else g("Concat", *parts, axis=1 if name == "minima" else 0)

    halves = layout.exact and layout.bits == 8
    read = g("Concat", *_parts(g, x, groups), axis=-2) if halves else x
    y = g(
        "MatMulNBits", read, part("codes"), part("scales"), part("zeros") if layout.zeros else None, domain="com.microsoft",
        K=columns, N=rows, bits=layout.bits, block_size=layout.group, accuracy_level=0 if layout.exact and not halves else 4,
    )  # fmt: skip
    if halves:
        y = g("Add", *g("Split", y, outputs=2, axis=-2, num_outputs=2))
    if not layout.minima:
        return y
    sums = g("ReduceSum", _grouped(g, x, groups), g.ints(-1), keepdims=0)
    return g("Add", y, g("MatMul", sums, part("minima")))


def _parts(g: Builder, x: Value, groups: int) -> tuple[Value, Value]:
    """What 8 bits hold of each group of x, and the rest."""
    grouped = _grouped(g, x, groups)
    largest = g("ReduceMax", g("Abs", grouped), g.ints(-1))
    step = g("Max", g("Mul", largest, g.constant(1 / 127, "float32")), g.constant(1e-30, "float32"))
    coarse = g("Reshape", g("Mul", g("Round", g("Div", grouped, step)), step), g("Shape", x))
    return coarse, g("Sub", x, coarse)


def _grouped(g: Builder, x: Value, groups: int) -> Value:
    """[..., K] as [..., groups, K / groups]."""
    return g("Reshape", x, g.ints(*[0] * (x.rank - 1), groups, -1))


def rows(g: Builder, ids: Value, weight: Blocked) -> Value:
    """Rows of the weight, as numbers: float32 [*ids, K]."""
    layout, last = weight.layout, g.ints(-1)
    columns = weight.shape[1]
    assert isinstance(columns, int)
    codes, zeros = g("Gather", weight.part("codes"), ids), g.constant(1 << (layout.bits - 1), "float32")
    if layout.zeros:
        packed = _unpacked(g, g("Gather", weight.part("zeros"), ids), layout.bits)
        zeros = g("Unsqueeze", g("Slice", packed, g.ints(0), g.ints(columns // layout.group), last), last)  # type: ignore[assignment]
    numbers = g("Sub", _unpacked(g, codes, layout.bits), zeros)
    numbers = g("Mul", numbers, g("Unsqueeze", g("Gather", weight.part("scales"), ids), last))
    if layout.minima:
        minima = g("Gather", g.transpose(weight.part("minima"), 1, 0), ids)
        numbers = g("Add", numbers, g("Unsqueeze", minima, last))
    return g("Reshape", numbers, g("Concat", g("Shape", ids), g.ints(columns), axis=0))


def _unpacked(g: Builder, codes: Value, bits: int) -> Value:
    """float32, twice as long along the last axis where a byte holds two codes."""
    if bits == 4:
        low, high = g("BitwiseAnd", codes, g.constant(15, "uint8")), g("BitShift", codes, g.constant(4, "uint8"), direction="RIGHT")
        pairs = g("Concat", g("Unsqueeze", low, g.ints(-1)), g("Unsqueeze", high, g.ints(-1)), axis=-1)
        codes = g("Reshape", pairs, g("Concat", g("Shape", codes, end=-1), g.ints(-1), axis=0))
    return g("Cast", codes, to=ONNX_DTYPE["float32"])
