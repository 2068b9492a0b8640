"""Which calls of a model may be made as one, and how: rows joined along the batch dim, token sequences padded as the tokenizer pads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from lamina.runtime import shapes
from lamina.runtime.dtypes import Array
from lamina.runtime.manifest import Manifest, Tensor

Arrays = Mapping[str, Array]


@final
@dataclass(frozen=True, slots=True)
class Padding:
    """The dim of tokens, and what each input (which all are [batch, dim]) holds where there is none."""

    dim: str
    values: Mapping[str, int]


@final
@dataclass(frozen=True, slots=True)
class Joining:
    """Calls are joined along `dim`, the first axis of every input and output, up to `most` rows. With `padding`, of unequal lengths too."""

    manifest: Manifest
    dim: str
    most: int
    padding: Padding | None = None

    def kind(self, inputs: Arrays) -> tuple[Any, ...] | None:
        """Calls of one kind may be joined; None: this one stands alone."""
        if inputs.keys() & self.manifest.supplied:
            return None
        return tuple(array.shape[1:] for array in inputs.values()) if self.padding is None else ()

    def length(self, inputs: Arrays) -> int:
        """How many tokens a row has; 1 where rows are of one length."""
        return 1 if self.padding is None else next(iter(inputs.values())).shape[1]

    def join(self, calls: Sequence[Arrays]) -> dict[str, Array]:
        """One call with the rows of all."""
        if self.padding is None:
            return {name: np.concatenate([call[name] for call in calls]) for name in calls[0]}
        return {name: _padded([call[name] for call in calls], value) for name, value in self.padding.values.items()}

    def split(self, outputs: Arrays, calls: Sequence[Arrays]) -> list[dict[str, Array]]:
        """Each call's part of the outputs, without padding."""
        found, first = [], 0
        for call in calls:
            rows = len(next(iter(call.values())))
            part = {name: array[first : first + rows] for name, array in outputs.items()}
            found.append(part if self.padding is None else self._unpadded(part, self.padding.dim, rows, self.length(call)))
            first += rows
        return found

    def _unpadded(self, part: Arrays, dim: str, rows: int, length: int) -> dict[str, Array]:
        sizes = {self.dim: rows, dim: length}
        return {
            spec.name: np.ascontiguousarray(part[spec.name][tuple(slice(shapes.evaluate(size, sizes)) for size in spec.shape)])
            for spec in self.manifest.outputs
        }


def joining_of(manifest: Manifest, most: int, pad: Mapping[str, Any] | None) -> Joining | None:
    """How the manifest lets calls be joined, None if it does not. `pad` is how the tokenizer pads, where there is one.

    That the rows do not change each other is not told by a manifest: see `probe`.
    """
    fed = [spec for spec in manifest.inputs if spec.name not in manifest.supplied]
    dim = fed[0].shape[0] if fed and fed[0].shape else None
    if manifest.states or not isinstance(dim, str) or dim not in manifest.dims or most < 2:
        return None
    bounded = any(extent.at_most is not None and dim in {name} | shapes.names(extent.at_most) for name, extent in manifest.dims.items())
    if bounded or not all(leads(dim, spec) for spec in (*fed, *manifest.outputs)):
        return None
    most = min(most, manifest.dims[dim].max)
    return (
        Joining(manifest, dim, most, None if pad is None else _padding(manifest, dim, pad)) if most >= 2 * manifest.dims[dim].min else None
    )


def leads(dim: str, spec: Tensor) -> bool:
    """Whether a dim is a tensor's first size, and in no other."""
    return bool(spec.shape) and spec.shape[0] == dim and all(dim not in shapes.names(size) for size in spec.shape[1:])


def _padding(manifest: Manifest, batch: str, pad: Mapping[str, Any]) -> Padding | None:
    """Only where a mask says which tokens are none, nothing but the tokenizer feeds the model, and padding stands behind the tokens."""
    how = manifest.tokenizer
    if how is None or how.mask is None or pad.get("direction", "right") not in ("right", "Right"):
        return None
    values = {how.ids: pad["pad_id"], how.mask: 0} | ({how.types: pad.get("pad_type_id", 0)} if how.types else {})
    dim = manifest.input(how.ids).shape[1]
    fed = {spec.name: spec.shape for spec in manifest.inputs if spec.name not in manifest.supplied}
    if fed.keys() != values.keys() or not isinstance(dim, str) or dim not in manifest.dims:
        return None
    if any(shape != (batch, dim) for shape in fed.values()) or manifest.dims[dim].at_most is not None:
        return None
    plain = all(isinstance(size, int) or size in (batch, dim) for spec in manifest.outputs for size in spec.shape)
    return Padding(dim, values) if plain else None


def _padded(arrays: Sequence[Array], value: int) -> Array:
    """The rows of all, as long as the longest. (`np.pad` of each by itself takes thirty times as long.)"""
    whole = np.full((sum(map(len, arrays)), max(array.shape[1] for array in arrays)), value, arrays[0].dtype)
    first = 0
    for array in arrays:
        whole[first : first + len(array), : array.shape[1]] = array
        first += len(array)
    return whole
