"""Checks what a caller feeds against what the manifest declares, and says which input, what came and what was wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina.runtime import shapes
from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import InputError
from lamina.runtime.manifest import Input, Manifest
from lamina.runtime.states import first_sizes, initial
from lamina.schema.diagnostics import did_you_mean


def checked(manifest: Manifest, given: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs as contiguous arrays (copied only if they were not), in the manifest's order. InputError if they are not as declared.

    States that are not given start from their initial values.
    """
    states = {state.past: state for state in manifest.states if state.past not in given}
    if given.keys() | states.keys() != {spec.name for spec in manifest.inputs}:
        raise InputError(_names(manifest, given))
    feeds: dict[str, Array] = {}
    bound = {dim: (size, "the states' start") for dim, size in first_sizes(manifest, given).items()}
    for spec in sorted(manifest.inputs, key=lambda spec: spec.name in states):
        if spec.name in states:
            feeds[spec.name] = initial(spec, states[spec.name], {dim: size for dim, (size, _) in bound.items()})
            continue
        array = np.asarray(given[spec.name])
        _check_dtype(spec, array)
        _check_shape(spec, array, manifest, bound)
        _check_values(spec, array)
        feeds[spec.name] = array if array.flags.c_contiguous else np.ascontiguousarray(array)
    return {spec.name: feeds[spec.name] for spec in manifest.inputs}


def _names(manifest: Manifest, given: Mapping[str, Any]) -> str:
    carried = {state.past for state in manifest.states}
    declared = {spec.name: spec for spec in manifest.inputs if spec.name not in carried}
    everything = "; the inputs are " + ", ".join(f"{name}: {spec}" for name, spec in declared.items())
    for name in given.keys() - declared.keys() - carried:
        hint = did_you_mean(name, declared)
        return f"`{name}` is not an input{everything}" + (f"; {hint}" if hint else "")
    missing = ", ".join(f"`{name}`" for name in declared if name not in given)
    return f"nothing was given for {missing}{everything}"


def _check_dtype(spec: Input, array: Array) -> None:
    if array.dtype != numpy_dtype(spec.dtype):
        raise InputError(f"`{spec.name}` is {array.dtype}, wanted {spec}; convert it with .astype('{spec.dtype}')")


def _check_shape(spec: Input, array: Array, manifest: Manifest, bound: dict[str, tuple[int, str]]) -> None:
    if array.ndim != len(spec.shape):
        raise InputError(f"`{spec.name}` has shape {list(array.shape)} with {array.ndim} axes, wanted {len(spec.shape)}: {spec}")
    for axis, (got, size) in enumerate(zip(array.shape, spec.shape, strict=True)):
        if problem := _size_problem(got, size, spec, manifest, bound):
            raise InputError(f"`{spec.name}` has shape {list(array.shape)}, wanted {spec}: axis {axis} {problem}")


def _size_problem(got: int, size: int | str, spec: Input, manifest: Manifest, bound: dict[str, tuple[int, str]]) -> str:
    if isinstance(size, str) and size in manifest.dims:
        known, where = bound.setdefault(size, (got, spec.name))
        if got not in manifest.dims[size]:
            return f"is {got}, and {size} must be {manifest.dims[size]}"
        return "" if got == known else f"is {got}, but {size} is {known} in `{where}`"
    dims = {name: value for name, (value, _) in bound.items()}
    if not shapes.names(size) <= dims.keys():
        return ""  # A dim that no input has shown yet: the backend knows.
    return "" if got == (wanted := shapes.evaluate(size, dims)) else f"is {got}, must be {wanted}"


def _check_values(spec: Input, array: Array) -> None:
    # A backend reads out of bounds, or stops with words of its own, where an index has no entry.
    if spec.below is not None and array.size and not (-spec.below <= array.min() and array.max() < spec.below):
        raise InputError(f"`{spec.name}` holds values from {array.min()} to {array.max()}, and must hold 0 to {spec.below - 1}")
