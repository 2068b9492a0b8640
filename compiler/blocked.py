"""Matrices kept as blocks of small integers: what their parts are, and which weights they stand for.

A row of K numbers is cut into groups; a number is `scale * code + minimum`, or without minima `scale * (code - zero)`, `zero` being half of
the codes' range. Codes are unsigned, and lie as com.microsoft.MatMulNBits reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from lamina.compiler.builder import Builder
from lamina.compiler.dynamic import dynamic_product
from lamina.compiler.graph import Parameter, Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.schema.dims import TensorType

Part = Literal["codes", "scales", "minima"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a matrix is cut: bits of a code (4 or 8), numbers in a group, whether groups have minima, and the dtype of these and of scales.

    What a matrix that is `exact` multiplies is not rounded, or to 16 bits. `dynamic`: a group is a row, and what the matrix multiplies is
    rounded as a whole, not in groups.
    """

    bits: int
    group: int
    minima: bool = False
    dtype: Literal["float16", "float32"] = "float16"
    exact: bool = False
    dynamic: bool = False

    @property
    def parts(self) -> tuple[Part, ...]:
        return ("codes", "scales", "minima") if self.minima else ("codes", "scales")

    @property
    def zero(self) -> int:
        """The code that stands for the minimum, or without one for 0."""
        return 0 if self.minima else 1 << (self.bits - 1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Blocked(Parameter):
    """A weight [N, K] that is to be kept in blocks where an op can read them."""

    layout: Layout = field(default_factory=lambda: Layout(4, 32))

    def part(self, part: Part) -> BlockPart:
        """codes: uint8 [N, K / group, group * bits / 8]; scales and minima: [N, K / group]."""
        rows, columns = (size for size in self.shape if isinstance(size, int))
        groups, bits = columns // self.layout.group, self.layout.bits
        codes = TensorType("uint8", (rows, groups, self.layout.group * bits // 8))
        type_ = codes if part == "codes" else TensorType(self.layout.dtype, (rows, groups))
        return BlockPart(f"{self.name}.{part}", type_, trainable=False, origin=self.origin, whole=self, part=part)


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
    """x @ weight.T, for which x is rounded to 8 bits as it goes: in groups, or where the layout is dynamic as a whole, or to 16 if exact.

    Where scales and minima are float16, and groups of 32, it is one operator: our own library has a kernel for it (`runtime/native`), and
    where that is missing ONNX Runtime runs what defines it.
    """
    rows, columns = (size for size in weight.shape if isinstance(size, int))
    pieces = weight.pieces if isinstance(weight, Joined) else (weight,)
    layout = pieces[0].layout

    def part(name: Part) -> Value:
        parts = [piece.part(name) for piece in pieces]
        return parts[0] if len(parts) == 1 else g("Concat", *parts, axis=0)

    if layout.dynamic:
        return dynamic_product(g, x, part("codes"), part("scales"), layout.zero)
    inputs = (x, *(part(name) for name in layout.parts))
    if layout.dtype != "float16" or layout.group != 32:
        return by_kernels(g, layout, rows, *inputs)
    attributes = {"N": rows, "K": columns, "bits": layout.bits, "exact": int(layout.exact)}
    return g.native("BlockMatMul", inputs, lambda inner, *given: [by_kernels(inner, layout, rows, *given)], **attributes)[0]


def by_kernels(g: Builder, layout: Layout, rows: int, x: Value, codes: Value, scales: Value, minima: Value | None = None) -> Value:
    """The product by ONNX Runtime's kernel, beside which minima are one more: of the sums of x's groups.

    Where the layout is exact, 4 bits have a kernel that does not round. The one of 8 bits is a hundred times slower, so there x is read in
    two parts: what the kernel would round it to, and what is left.
    """
    columns = x.shape[-1]
    assert isinstance(columns, int)
    groups, wide = columns // layout.group, ONNX_DTYPE["float32"]
    scales = g("Cast", scales, to=wide)
    halves = layout.exact and layout.bits == 8
    read = g("Concat", *_parts(g, x, groups), axis=-2) if halves else x
    y = g(
        "MatMulNBits", read, codes, scales, domain="com.microsoft",
        K=columns, N=rows, bits=layout.bits, block_size=layout.group, accuracy_level=0 if layout.exact and not halves else 4,
    )  # fmt: skip
    if halves:
        y = g("Add", *g("Split", y, outputs=2, axis=-2, num_outputs=2))
    if minima is None:
        return y
    # the kernel takes half of the codes' range for their zero, which is 0 here
    shifted = g("Add", g("Cast", minima, to=wide), g("Mul", scales, g.constant(1 << (layout.bits - 1), "float32")))
    sums = g("ReduceSum", _grouped(g, x, groups), g.ints(-1), keepdims=0)
    return g("Add", y, g("MatMul", sums, g.transpose(shifted, 1, 0)))


def _parts(g: Builder, x: Value, groups: int) -> tuple[Value, Value]:
    """What 8 bits hold of each group of x, and the rest."""
    grouped = _grouped(g, x, groups)
    largest = g("ReduceMax", g("Abs", grouped), g.ints(-1))
    step = g("Max", g("Mul", largest, g.constant(1 / 127, "float32")), g.constant(1e-30, "float32"))
    coarse = g("Reshape", g("Mul", g("Round", g("Div", grouped, step)), step), g("Shape", x))
    return coarse, g("Sub", x, coarse)


def _grouped(g: Builder, x: Value, groups: int) -> Value:
    """[..., K] as [..., groups, K / groups]. There may be no rows, of which no size could be told."""
    columns = x.shape[-1]
    assert isinstance(columns, int)
    return g("Reshape", x, g.ints(*[0] * (x.rank - 1), groups, columns // groups))


def rows(g: Builder, ids: Value, weight: Blocked) -> Value:
    """Rows of the weight, as numbers: float32 [*ids, K]."""
    layout, columns = weight.layout, weight.shape[1]
    assert isinstance(columns, int)

    def of_groups(part: Part) -> Value:
        return g("Unsqueeze", g("Cast", g("Gather", weight.part(part), ids), to=ONNX_DTYPE["float32"]), g.ints(-1))

    numbers = _unpacked(g, g("Gather", weight.part("codes"), ids), layout.bits)
    if layout.minima:
        numbers = g("Add", g("Mul", numbers, of_groups("scales")), of_groups("minima"))
    else:
        numbers = g("Mul", g("Sub", numbers, g.constant(layout.zero, "float32")), of_groups("scales"))
    return g("Reshape", numbers, g("Concat", g("Shape", ids), g.ints(columns), axis=0))


def _unpacked(g: Builder, codes: Value, bits: int) -> Value:
    """float32, twice as long along the last axis where a byte holds two codes."""
    if bits == 4:
        low, high = g("BitwiseAnd", codes, g.constant(15, "uint8")), g("BitShift", codes, g.constant(4, "uint8"), direction="RIGHT")
        pairs = g("Concat", g("Unsqueeze", low, g.ints(-1)), g("Unsqueeze", high, g.ints(-1)), axis=-1)
        codes = g("Reshape", pairs, g("Concat", g("Shape", codes, end=-1), g.ints(-1), axis=0))
    return g("Cast", codes, to=ONNX_DTYPE["float32"])
