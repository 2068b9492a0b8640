"""Random inputs of the declared shapes, the same for the same seed on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from lamina.runtime import shapes
from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import InputError
from lamina.runtime.manifest import Input, Manifest
from lamina.schema.diagnostics import did_you_mean
from lamina.schema.dtypes import INTEGERS

_LARGEST = 8 * 2**30


def chosen_dims(manifest: Manifest, given: Mapping[str, int]) -> dict[str, int]:
    """Every dim's size: the given one, else its optimum. InputError if a name is not a dim or a size is outside its range.

    Where a given one leaves less room, the others are as large as they can be.
    """
    for name, value in given.items():
        if name not in manifest.dims:
            hint = did_you_mean(name, manifest.dims)
            raise InputError(f"`{name}` is not a dim; the dims are {', '.join(manifest.dims) or 'none'}" + (f"; {hint}" if hint else ""))
        if value not in manifest.dims[name]:
            raise InputError(f"{name} = {value}, and {name} must be {manifest.dims[name]}")
    sizes = manifest.fitting({name: given.get(name, allowed.typical) for name, allowed in manifest.dims.items()}) | dict(given)
    if (crowded := manifest.crowded(sizes)) is not None:
        raise InputError(crowded)
    return sizes


def sample_inputs(manifest: Manifest, dims: Mapping[str, int], seed: int = 0) -> dict[str, Array]:
    """An array for each input at these dims (others at their optimum): normal floats, integers below `below`, else 0 or 1.

    InputError if a dim is not as declared, a size has no value, or the arrays would be over 8 GiB.
    """
    sizes = chosen_dims(manifest, dims)
    try:
        wanted = {spec.name: tuple(shapes.evaluate(size, sizes) for size in spec.shape) for spec in manifest.inputs}
    except ValueError as error:
        raise InputError(str(error)) from error
    total = sum(_bytes(spec, wanted[spec.name]) for spec in manifest.inputs)
    if total > _LARGEST:
        raise InputError(f"inputs at {', '.join(f'{k}={v}' for k, v in sizes.items())} are {total >> 30} GiB; choose smaller dims")
    return {spec.name: _sample(spec, wanted[spec.name], seed) for spec in manifest.inputs}


def _bytes(spec: Input, shape: tuple[int, ...]) -> int:
    size = numpy_dtype(spec.dtype).itemsize
    for extent in shape:
        size *= extent
    return size


def _sample(spec: Input, shape: tuple[int, ...], seed: int) -> Array:
    # Each input has a stream of its own, so that adding one leaves the others as they were.
    key = hashlib.sha256(f"{seed}:{spec.name}".encode()).digest()
    random = np.random.Generator(np.random.PCG64(int.from_bytes(key, "big")))
    if spec.dtype in INTEGERS and spec.below is not None:
        return np.asarray(random.integers(0, min(spec.below, int(np.iinfo(spec.dtype).max)), shape, dtype=spec.dtype))
    if spec.dtype in INTEGERS:
        drawn = np.asarray(random.integers(0, 2, shape, dtype=spec.dtype))
        if shape:
            drawn[..., :1] = 1  # most such inputs are masks, and a row that masks all has no meaning
        return drawn
    if spec.dtype == "bool":
        return np.asarray(random.integers(0, 2, shape, dtype=np.uint8)).astype(np.bool_)
    return np.asarray(random.standard_normal(shape, dtype=np.float32)).astype(numpy_dtype(spec.dtype), copy=False)
