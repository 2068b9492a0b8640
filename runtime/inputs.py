"""What a user has (a file, a folder of images, a literal) as the array that an input wants."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import InputError
from lamina.runtime.images import SUFFIXES, read_images
from lamina.runtime.manifest import Input, Manifest

_LARGEST = 8 * 2**30
_WHAT = "an array (.npy, .npz, .json), an image (.png, .jpg), a folder of images, or JSON such as 3 or [1, 2]"


def read_input(given: str | Path | Sequence[str | Path], spec: Input, manifest: Manifest) -> Array:
    """The array for one input, in its dtype. Several values are joined along the first axis. Shapes are the session's to check.

    Each value is the path of a .npy, .npz (its array of that name, or its only one), .json, .png or .jpg file or of a folder of images,
    else a JSON literal. Images are prepared as the manifest's `preprocess` says. InputError says what is wrong with which value.
    """
    values = [given] if isinstance(given, str | Path) else list(given)
    if images := _images(values):
        return read_images(images, spec, manifest)
    arrays = [declared_array(_read(value, spec), spec, str(value)) for value in values]
    if len(arrays) == 1:
        return arrays[0]
    try:
        return np.concatenate(arrays)
    except ValueError as error:
        raise InputError(f"the {len(arrays)} values for `{spec.name}` do not join along the first axis: {error}") from error


def _images(values: Sequence[str | Path]) -> list[Path]:
    """The image files among the values, in order; none unless all are images."""
    found: list[Path] = []
    for value in values:
        if (path := existing(value)) is None:
            return []
        inside = sorted(child for child in path.iterdir() if child.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"{path} holds no image ({', '.join(SUFFIXES)})")
        found += inside
    return found if all(path.suffix.lower() in SUFFIXES for path in found) else []


def existing(value: str | Path) -> Path | None:
    """The path, if there is such a file or folder."""
    try:
        return Path(value) if Path(value).exists() else None
    except (OSError, ValueError):  # too long, or with a NUL: not a path
        return None


def _read(value: str | Path, spec: Input) -> Array:
    path = existing(value)
    if path is None:
        return _literal(str(value), spec, f"`{value}` is no file and no JSON; `{spec.name}` takes {_WHAT}")
    try:
        match path.suffix.lower():
            case ".npy":
                return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
            case ".npz":
                return _from_npz(path, spec)
            case ".json":
                return _literal(path.read_text(encoding="utf-8"), spec, f"{path} is not JSON")
    except InputError:
        raise
    except Exception as error:  # on a hostile file numpy's reader raises nearly anything (tokenize.TokenError, zlib.error, ...)
        raise InputError(f"{path} cannot be read for `{spec.name}`: {error}") from error
    raise InputError(f"{path} is not something that `{spec.name}` can be read from: give {_WHAT}")


def _from_npz(path: Path, spec: Input) -> Array:
    with zipfile.ZipFile(path) as archive:
        names = [entry.filename.removesuffix(".npy") for entry in archive.infolist()]
        if sum(entry.file_size for entry in archive.infolist()) > _LARGEST:
            raise InputError(f"{path} unpacks to over {_LARGEST >> 30} GiB")
    name = spec.name if spec.name in names else names[0] if len(names) == 1 else None
    if name is None:
        raise InputError(f"{path} holds no array `{spec.name}`, only {', '.join(names) or 'nothing'}")
    with np.load(path, allow_pickle=False) as arrays:
        return arrays[name]  # type: ignore[no-any-return]


def _literal(text: str, spec: Input, problem: str) -> Array:
    try:
        value: Any = json.loads(text)
        if isinstance(value, dict):
            if spec.name not in value:
                raise InputError(f"the JSON for `{spec.name}` is an object without that key")
            value = value[spec.name]
        return np.array(value)
    except (ValueError, RecursionError) as error:
        reason = "its lists are ragged" if "inhomogeneous" in str(error) else str(error)
        raise InputError(f"{problem} ({reason})") from error


def declared_array(array: Array, spec: Input, source: str) -> Array:
    """The array in the input's dtype, if no value is lost but float precision."""
    wanted = numpy_dtype(spec.dtype)
    if array.dtype == wanted:
        return array
    problem = InputError(f"{source} holds {array.dtype}, which cannot stand for `{spec.name}: {spec}`")
    if array.dtype.kind not in "biuf" and array.dtype != numpy_dtype("bfloat16"):
        raise problem
    # An empty list is float64 to numpy, and fits any input.
    if array.size and (wanted.kind in "biu" and (array.dtype.kind not in "biu" or not _fits(array, wanted))):
        raise problem if array.dtype.kind not in "biu" else InputError(f"{source} holds values that do not fit `{spec.name}: {spec}`")
    try:
        with np.errstate(over="raise"):
            return array.astype(wanted)
    except FloatingPointError:
        raise InputError(f"{source} holds values that do not fit `{spec.name}: {spec}`") from None


def _fits(array: Array, wanted: np.dtype[Any]) -> bool:
    low, high = (0, 1) if wanted.kind == "b" else (np.iinfo(wanted).min, np.iinfo(wanted).max)
    return bool(low <= int(array.min()) and int(array.max()) <= high)
