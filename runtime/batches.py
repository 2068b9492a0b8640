"""A user's own data as calls of a model: what calibration and `verify --inputs` read."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import InputError
from lamina.runtime.feeds import checked
from lamina.runtime.images import SUFFIXES
from lamina.runtime.inputs import existing, read_input
from lamina.runtime.manifest import Manifest
from lamina.runtime.run import TEXT, assemble

_MOST = 32  # rows of a call
WHAT = "a .npz with an array for each input, a .txt of a text a line, an image, a folder of these, or NAME=VALUE as `lamina run` takes it"
Feeds = dict[str, Array]


def read_batches(given: Sequence[str | Path], folder: Path, manifest: Manifest) -> Iterator[Feeds]:
    """The calls that some paths and NAME=VALUE hold, checked as a session checks them, at most 32 rows each.

    A .npz has an array for each input, a .txt a text in each line, for a bundle that carries a tokenizer; images are for a model whose
    only input they are. A folder holds such files. All NAME=VALUE together are one call, cut likewise. InputError says what will not do.
    """
    named: dict[str, list[str]] = {}
    paths: list[Path] = []
    for value in given:
        name, equals, rest = str(value).partition("=")
        if (path := existing(value)) is not None:
            paths += _inside(path)
        elif equals:
            named.setdefault(name, []).append(rest)
        else:
            raise InputError(f"there is no file or folder `{value}`; give {WHAT}")
    for path in paths:
        yield from _pieces(_read(path, folder, manifest), manifest)
    if named:
        yield from _pieces(assemble(folder, manifest, {name: v[0] if len(v) == 1 else v for name, v in named.items()}), manifest)


def _inside(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(child for child in path.iterdir() if child.suffix.lower() in (".npz", ".txt", *SUFFIXES))
    if not found:
        raise InputError(f"{path} holds nothing to read; give {WHAT}")
    return found


def _read(path: Path, folder: Path, manifest: Manifest) -> Feeds:
    """What a file holds, as one call of any size."""
    wanted = [spec for spec in manifest.inputs if spec.name not in manifest.supplied]
    match path.suffix.lower():
        case ".npz" if zipfile.is_zipfile(path):
            return {spec.name: read_input(path, spec, manifest) for spec in wanted}
        case ".txt":
            return assemble(folder, manifest, {TEXT: str(path)})
        case suffix if suffix in SUFFIXES:
            if len(wanted) != 1:
                raise InputError(f"{path} is an image, and the model has the inputs {', '.join(s.name for s in wanted)}; give a .npz")
            return {wanted[0].name: read_input(path, wanted[0], manifest)}
    raise InputError(f"{path} cannot be read; give {WHAT}")


def _pieces(feeds: Feeds, manifest: Manifest) -> Iterator[Feeds]:
    """The call in parts along the dim that every input begins with, if there is one; else whole."""
    firsts = {spec.shape[0] if spec.shape else 1 for spec in manifest.inputs if spec.name not in manifest.supplied}
    dim = firsts.pop() if len(firsts) == 1 else None
    counts = {len(array) for array in feeds.values() if array.ndim}
    if not isinstance(dim, str) or dim not in manifest.dims or len(counts) != 1:
        yield checked(manifest, feeds)
        return
    allowed, (count,) = manifest.dims[dim], counts
    step = max(allowed.min, min(_MOST, allowed.max) // allowed.multiple_of * allowed.multiple_of)
    starts = range(0, max(count, 1), step)
    for start in starts:
        part = {name: np.ascontiguousarray(array[start : start + step]) for name, array in feeds.items()}
        if start == 0 or min(step, count - start) in allowed:  # what is left over at the end may be too little for a call
            yield checked(manifest, part)
