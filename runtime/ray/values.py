"""Values of a dataset's rows as arrays, and arrays as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import InputError
from lamina.runtime.images import read_images
from lamina.runtime.inputs import declared_array
from lamina.runtime.manifest import Input, Manifest, Tensor


def text_of(value: Any) -> str:
    """A text. InputError for anything else."""
    found = value.as_py() if isinstance(value, pa.Scalar) else value
    if not isinstance(found, str):
        raise InputError(f"the text is {type(found).__name__}; give a string")
    return found


def array_of(value: Any, spec: Input, manifest: Manifest, item: bool) -> Array:
    """The array that a row has for an input, in its dtype; an item gets a first axis of 1. InputError: it has none such."""
    if isinstance(value, pa.Scalar) and value.is_valid and (pa.types.is_binary(value.type) or pa.types.is_large_binary(value.type)):
        return read_images([value.as_py()], spec, manifest)
    array = declared_array(_from_arrow(value) if isinstance(value, pa.Scalar) else _from_json(value), spec, "the row")
    return array[None] if item else array


def _from_json(value: Any) -> Array:
    try:
        return np.array(value)
    except ValueError:
        raise InputError("the lists are ragged") from None


def _from_arrow(value: Any) -> Array:
    """Lists of lists without a copy for each number. InputError: ragged, or without a value."""
    if not value.is_valid:
        raise InputError("the row holds null")
    if not isinstance(value, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar):
        return np.array(value.as_py())
    values, shape = value.values, [len(value.values)]
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or pa.types.is_fixed_size_list(values.type):
        lengths = pc.unique(pc.list_value_length(values))
        if values.null_count or len(lengths) > 1:
            raise InputError("the lists are ragged, or hold null")
        shape.append(lengths[0].as_py() if len(lengths) else 0)
        values = values.flatten()
    if values.null_count:
        raise InputError("the lists hold null")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(shape)


def column_type(spec: Tensor, item: bool) -> pa.DataType:
    """What a column of an output holds: numbers, or lists of them, as deep as it has axes. bfloat16 becomes float32."""
    kind = pa.from_numpy_dtype(_kept(numpy_dtype(spec.dtype)))
    for _ in spec.shape[1:] if item else spec.shape:
        kind = pa.large_list(kind)
    return kind


def column(arrays: Sequence[Array], spec: Tensor, item: bool) -> pa.Array:
    """A column with these arrays, one a row, of which items lose their first axis of 1."""
    rows = [array[0] for array in arrays] if item else list(arrays)
    flat = np.concatenate([row.ravel() for row in rows])
    found = pa.array(flat.astype(_kept(flat.dtype), copy=False))
    for axis in reversed(range(len(spec.shape) - item)):
        lengths = np.concatenate([np.full(int(np.prod(row.shape[:axis])), row.shape[axis]) for row in rows])
        found = pa.LargeListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int64()), found)
    return found


def _kept(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if dtype == numpy_dtype("bfloat16") else dtype
