"""A bundle as a denoiser: which of its inputs is the noisy sample, which the time, and what it gives, with guidance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np

from lamina.runtime import shapes
from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import BundleError, InputError
from lamina.runtime.manifest import Input, Manifest
from lamina.runtime.samples import chosen_dims
from lamina.runtime.sampling.options import Sampling
from lamina.runtime.session import Session


@final
class Denoiser:
    """Calls of a session at a time. Of the inputs that are not given, the one with a number for each sample is the time.

    InputError: inputs that will not do. BundleError: a model that is no denoiser.
    """

    def __init__(
        self, session: Session, given: Mapping[str, Any], without: Mapping[str, Any], dims: Mapping[str, int], options: Sampling
    ) -> None:
        self._session, self._options = session, options
        self._with = {name: _array(session.manifest, name, value) for name, value in given.items()}
        self._without = self._with | {
            name: _like(_array(session.manifest, name, value), self._with, name) for name, value in without.items()
        }
        self._sample, self._time = _roles(session, given)
        if options.guidance != 1 and not without:
            raise InputError(
                "`guidance` needs what the model is given without the condition, such as the label of no class: say it in `without`"
            )
        sizes = chosen_dims(session.manifest, {**_shown(session.manifest, self._with), **dims})
        self.shape = tuple(shapes.evaluate(size, sizes) for size in self._sample.shape)
        self._output = self._find_output(sizes)

    def __call__(self, x: Array, time: float) -> tuple[Array, Array | None]:
        """What the model predicts of x at a time, and of one that gives twice the channels what its variance follows from."""
        channels, options = self.shape[1], self._options
        found = self._call(self._with, x, time)
        given, rest = found[:, :channels], found[:, channels:] if found.shape[1] > channels else None
        if options.guidance != 1:
            guided = min(options.guided_channels or channels, channels)
            free = self._call(self._without, x, time)[:, :guided]
            given = np.concatenate([free + np.float32(options.guidance) * (given[:, :guided] - free), given[:, guided:]], axis=1)
        if not np.isfinite(given).all():
            raise BundleError(f"at the time {time:g} the model gives values that are not finite")
        return given, rest

    def _call(self, inputs: Mapping[str, Array], x: Array, time: float) -> Array:
        at = np.full([x.shape[0]] if self._time.shape else [], time).astype(numpy_dtype(self._time.dtype))
        sample = x.astype(numpy_dtype(self._sample.dtype))
        found = self._session.run({**inputs, self._sample.name: sample, self._time.name: at})[self._output]
        return found.astype(np.float32)

    def _find_output(self, sizes: Mapping[str, int]) -> str:
        """The output of the sample's shape, or of that with twice the channels."""
        twice = (self.shape[0], 2 * self.shape[1], *self.shape[2:])
        for spec in self._session.outputs:
            if tuple(shapes.evaluate(size, sizes) for size in spec.shape) in (self.shape, twice):
                return spec.name
        held = ", ".join(f"{spec.name}: {spec}" for spec in self._session.outputs)
        raise BundleError(
            f"a denoiser gives an output like {self._sample.name}: {self._sample}, or with twice the channels; this one gives {held}"
        )


def _roles(session: Session, given: Mapping[str, Any]) -> tuple[Input, Input]:
    """The noisy sample and the time."""
    left = [spec for spec in session.inputs if spec.name not in given and spec.name not in session.manifest.supplied]
    times = [spec for spec in left if len(spec.shape) < 2]
    samples = [spec for spec in left if len(spec.shape) >= 2 and "float" in spec.dtype]
    if len(left) == 2 and len(times) == len(samples) == 1:
        return samples[0], times[0]
    held = ", ".join(f"{spec.name}: {spec}" for spec in left) or "nothing"
    raise InputError(f"a denoiser's inputs are all given but the noisy sample [N, ...] and the time [N]; what is left here is {held}")


def _array(manifest: Manifest, name: str, value: Any) -> Array:
    declared = {spec.name: spec for spec in manifest.inputs}
    if name not in declared:
        raise InputError(f"`{name}` is not an input; the inputs are {', '.join(f'{n}: {spec}' for n, spec in declared.items())}")
    array = np.asarray(value)
    wanted = numpy_dtype(declared[name].dtype)
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and wanted.kind != "f"):
        raise InputError(f"`{name}` is {array.dtype}, wanted {declared[name]}")
    return array.astype(wanted)


def _like(array: Array, given: Mapping[str, Array], name: str) -> Array:
    """As many as of what it stands instead of."""
    if name not in given:
        raise InputError(f"`without` says `{name}`, which was not given; give both")
    try:
        return np.broadcast_to(array, given[name].shape)
    except ValueError:
        raise InputError(
            f"`without` says `{name}` of shape {list(array.shape)}, which stands for none of shape {list(given[name].shape)}"
        ) from None


def _shown(manifest: Manifest, given: Mapping[str, Array]) -> dict[str, int]:
    """The dims that the inputs show; whether they fit together is the session's to check."""
    pairs = ((manifest.input(name).shape, array.shape) for name, array in given.items())
    return {
        size: got
        for shape, sizes in pairs
        for size, got in zip(shape, sizes, strict=False)
        if isinstance(size, str) and size in manifest.dims
    }
