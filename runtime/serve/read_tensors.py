"""Tensors of a request: from JSON, or from the bytes that follow it (the protocol's binary tensor data extension)."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any, final

import numpy as np

from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import InputError
from lamina.runtime.feeds import shape_problems
from lamina.runtime.inputs import declared_array
from lamina.runtime.manifest import Input, Manifest
from lamina.runtime.serve.datatypes import DATATYPES, TEXT

_LARGEST = 2**63 - 1
_MOST_TEXTS = 10_000


@final
class TensorReader:
    """Reads one request's tensors in order. What is wrong is collected in `problems`."""

    def __init__(self, manifest: Manifest, tail: memoryview) -> None:
        self._manifest, self._tail, self._at = manifest, tail, 0
        self._specs = {spec.name: spec for spec in manifest.inputs}
        self._bound: dict[str, tuple[int, str]] = {}
        self.problems: list[str] = []

    def tensor(self, name: str, given: Mapping[str, Any]) -> Array | None:
        """An input of the model; None where it will not do, or is unknown."""
        data = self._data(name, given)
        shape = self._shape(name, given)
        spec = self._specs.get(name)
        if spec is None or data is None or shape is None:
            return None
        problems = [*self._type(spec, given), *shape_problems(spec, shape, self._manifest, self._bound)]
        self.problems += problems
        if problems:
            return None
        return self._of_bytes(spec, shape, data) if isinstance(data, memoryview) else self._of_json(spec, shape, data)

    def texts(self, name: str, given: Mapping[str, Any]) -> list[str]:
        """A list of texts, for the bundle's tokenizer; empty where it will not do."""
        data = self._data(name, given)
        shape = self._shape(name, given)
        if data is None or shape is None:
            return []
        if isinstance(data, list) and len(data) > _MOST_TEXTS:
            self.problems.append(f"`{name}` has {len(data)} texts, and at most {_MOST_TEXTS} are read")
            return []
        if given.get("datatype") != TEXT:
            self.problems.append(f"`{name}` has datatype {given.get('datatype')!r}, wanted {TEXT}: texts")
        found = _strings(data) if isinstance(data, memoryview) else data if all(isinstance(text, str) for text in data) else None
        if found is None:
            self.problems.append(f"`{name}` must hold texts: strings in JSON; as bytes, each behind its length in 4 bytes, in UTF-8")
        elif list(shape) != [len(found)]:
            self.problems.append(f"`{name}` has shape {list(shape)} and {len(found)} texts, wanted [{len(found)}]")
        return found or []

    def end(self) -> None:
        """Nothing may be left."""
        if not self.problems and self._at != len(self._tail):
            self.problems.append(f"{len(self._tail) - self._at} bytes follow the tensors; no input's binary_data_size counts them")

    def _data(self, name: str, given: Mapping[str, Any]) -> memoryview | list[Any] | None:
        """The bytes or the JSON list of a tensor, whichever there is."""
        parameters = given.get("parameters", {})
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            data = given.get("data")
            if not isinstance(data, list):
                self.problems.append(f"`{name}` needs `data`, a list of numbers, or the parameter binary_data_size")
                return None
            return data
        left = len(self._tail) - self._at
        if not _is_size(size) or size > left or "data" in given:
            beside = ", and has `data` too" if "data" in given else ""
            self.problems.append(f"`{name}` has binary_data_size {size!r}, and {left} bytes are left behind the JSON{beside}")
            self._at = len(self._tail)
            return None
        self._at += size
        return self._tail[self._at - size : self._at]

    def _shape(self, name: str, given: Mapping[str, Any]) -> list[int] | None:
        shape = given.get("shape")
        if not isinstance(shape, list) or len(shape) > 64 or not all(map(_is_size, shape)) or math.prod(shape) > _LARGEST:
            self.problems.append(f"`{name}` needs `shape`, a list of sizes")
            return None
        return shape

    def _type(self, spec: Input, given: Mapping[str, Any]) -> list[str]:
        wanted = DATATYPES[spec.dtype]
        got = given.get("datatype")
        return [] if got == wanted else [f"`{spec.name}` has datatype {got!r}, wanted {wanted}: {spec}"]

    def _of_bytes(self, spec: Input, shape: list[int], data: memoryview) -> Array | None:
        dtype = numpy_dtype(spec.dtype)
        if len(data) != (wanted := math.prod(shape) * dtype.itemsize):
            self.problems.append(f"`{spec.name}` has {len(data)} bytes, and {spec.dtype}{shape} has {wanted}")
            return None
        if dtype.kind == "b" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
            self.problems.append(f"`{spec.name}` is of booleans, whose bytes are 0 or 1")
            return None
        array = np.frombuffer(data, dtype).reshape(shape)
        return array if array.flags.aligned else array.copy()

    def _of_json(self, spec: Input, shape: list[int], data: list[Any]) -> Array | None:
        try:
            array = declared_array(np.array(data), spec, "`data`")
        except InputError as error:
            self.problems.append(str(error))
        except (ValueError, OverflowError, RecursionError) as error:
            reason = "its lists are ragged" if "inhomogeneous" in str(error) else str(error)
            self.problems.append(f"`{spec.name}` holds `data` that is no array: {reason}")
        else:
            if array.shape == tuple(shape) or (array.ndim == 1 and array.size == math.prod(shape)):
                return array.reshape(shape)
            self.problems.append(f"`{spec.name}` has shape {shape} and data of shape {list(array.shape)}")
        return None


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _strings(data: memoryview) -> list[str] | None:
    """Texts, each behind its length as a little-endian number of 4 bytes; None if that is not what the bytes are."""
    found: list[str] = []
    at = 0
    while at + 4 <= len(data) and len(found) < _MOST_TEXTS:
        (size,) = struct.unpack_from("<I", data, at)
        if at + 4 + size > len(data):
            return None
        try:
            found.append(str(data[at + 4 : at + 4 + size], "utf-8"))
        except UnicodeDecodeError:
            return None
        at += 4 + size
    return found if at == len(data) else None
