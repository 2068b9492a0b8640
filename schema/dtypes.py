"""The dtypes of tensors, and what else weights may be kept in."""

from __future__ import annotations

from typing import Literal, get_args

DType = Literal["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
DTYPES: tuple[str, ...] = get_args(DType)
FLOATS = ("float64", "float32", "float16", "bfloat16")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8")
Precision = Literal["float32", "int8", "int4", "int8-dynamic", "int8-static", "float16", "bfloat16"]  # of layers
