"""Checks what a caller feeds against what the manifest declares, and says which input, what came and what was wanted."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lamina.runtime import shapes
from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import InputError
from lamina.runtime.manifest import Input, Manifest, State
from lamina.schema.diagnostics import did_you_mean


def checked(manifest: Manifest, given: Mapping[str, Any], beside: Mapping[str, Array] | None = None) -> dict[str, Array]:
    """The inputs as contiguous arrays (copied only if they were not), in the manifest's order. InputError if they are not as declared.

    States that are not given start from their initial values, and adapters that are not given are those in `beside`.
    """
    absent = [state for state in manifest.states if state.past not in given]
    feeds, sizes = checked_inputs(manifest, given, first_sizes(manifest, given))
    feeds |= {state.past: initial(manifest, state, sizes) for state in absent}
    feeds = {**(beside or {}), **feeds}
    return {spec.name: feeds[spec.name] for spec in manifest.inputs}


def checked_inputs(manifest: Manifest, given: Mapping[str, Any], known: Mapping[str, int]) -> tuple[dict[str, Array], dict[str, int]]:
    """The given inputs and states as contiguous arrays, and the dims that they show, beside those that are known.

    InputError, with a line for each input that will not do.
    """
    problems = [*name_problems(manifest, given)]
    feeds: dict[str, Array] = {}
    bound = {dim: (size, "the states") for dim, size in known.items()}
    for spec in manifest.inputs:
        if spec.name in given:
            array = np.asarray(given[spec.name])
            found = next(_problems(spec, array, manifest, bound), None)
            problems += [] if found is None else [found]
            feeds[spec.name] = array if array.flags.c_contiguous else np.ascontiguousarray(array)
    sizes = {dim: size for dim, (size, _) in bound.items()}
    if not problems and (crowded := manifest.crowded(sizes)) is not None:
        problems.append(crowded)
    if problems:
        raise InputError("\n".join(problems))
    return feeds, sizes


def first_sizes(manifest: Manifest, given: Container[str]) -> dict[str, int]:
    """The dims that only states show which are not given: they start as small as they may be."""
    absent = {state.past for state in manifest.states if state.past not in given}
    shown = {size for spec in manifest.inputs if spec.name not in absent for size in spec.shape}
    alone = {size for name in absent for size in manifest.input(name).shape if isinstance(size, str) and size in manifest.dims}
    return {name: manifest.dims[name].min for name in sorted(alone - shown)}


def initial(manifest: Manifest, state: State, sizes: Mapping[str, int]) -> Array:
    """What the first call finds of a state."""
    spec = manifest.input(state.past)
    return np.full([shapes.evaluate(size, sizes) for size in spec.shape], state.initial, numpy_dtype(spec.dtype))


def name_problems(manifest: Manifest, given: Collection[str]) -> Iterator[str]:
    """What is wrong with the names of what is given. The inputs are told once."""
    supplied = manifest.supplied
    declared = {spec.name: spec for spec in manifest.inputs if spec.name not in supplied}
    named = {name for name in given if name not in supplied}
    if named == declared.keys():
        return
    everything = "; the inputs are " + ", ".join(f"{name}: {spec}" for name, spec in declared.items())
    for name in sorted(named - declared.keys()):
        hint = did_you_mean(name, declared)
        yield f"`{name}` is not an input{everything}" + (f"; {hint}" if hint else "")
        everything = ""
    if missing := ", ".join(f"`{name}`" for name in declared if name not in given):
        yield f"nothing was given for {missing}{everything}"


def _problems(spec: Input, array: Array, manifest: Manifest, bound: dict[str, tuple[int, str]]) -> Iterator[str]:
    """What is wrong with an array, the gravest first."""
    if array.dtype != numpy_dtype(spec.dtype):
        yield f"`{spec.name}` is {array.dtype}, wanted {spec}; convert it with .astype('{spec.dtype}')"
    yield from shape_problems(spec, array.shape, manifest, bound)
    # A backend reads out of bounds, or stops with words of its own, where an index has no entry.
    if spec.below is not None and array.size and not (-spec.below <= array.min() and array.max() < spec.below):
        yield f"`{spec.name}` holds values from {array.min()} to {array.max()}, and must hold 0 to {spec.below - 1}"


def shape_problems(spec: Input, shape: Sequence[int], manifest: Manifest, bound: dict[str, tuple[int, str]]) -> Iterator[str]:
    """What is wrong with a shape. `bound` holds the dims that other inputs have shown, with which, and takes those that this one shows."""
    if len(shape) != len(spec.shape):
        yield f"`{spec.name}` has shape {list(shape)} with {len(shape)} axes, wanted {len(spec.shape)}: {spec}"
        return
    for axis, (got, size) in enumerate(zip(shape, spec.shape, strict=True)):
        if problem := _size_problem(got, size, spec, manifest, bound):
            yield f"`{spec.name}` has shape {list(shape)}, wanted {spec}: axis {axis} {problem}"


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
