"""Symbolic sizes: integer polynomials over named dims, with floor division and modulo, decided over declared ranges.

A dim declared `multiple_of: 32` is held as 32 times a unit, so that division by a divisor of 32 is exact and
`(H // 4) * 4 == H` holds by normal form alone.
"""

from lamina.schema.dims.atoms import Atom, Symbol
from lamina.schema.dims.compare import bounds, compare, counterexample, product, shown, undecided, value_of
from lamina.schema.dims.search import deciding, smallest
from lamina.schema.dims.size import Dim, Quotient, Size
from lamina.schema.dims.tensor_type import TensorType
from lamina.schema.dtypes import DTYPES, FLOATS, INTEGERS, DType, Precision

__all__ = [
    "DTYPES",
    "FLOATS",
    "INTEGERS",
    "Atom",
    "DType",
    "Dim",
    "Precision",
    "Quotient",
    "Size",
    "Symbol",
    "TensorType",
    "bounds",
    "compare",
    "counterexample",
    "deciding",
    "product",
    "shown",
    "smallest",
    "undecided",
    "value_of",
]
