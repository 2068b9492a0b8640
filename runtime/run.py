"""From files and text to outputs, and outputs to a file: what `lamina run` does."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import InputError
from lamina.runtime.inputs import read_input
from lamina.runtime.manifest import Manifest
from lamina.runtime.session import Session
from lamina.runtime.text import read_texts, tokenize

TEXT = "text"
_SUFFIXES = (".npz", ".npy", ".json")


def assemble(folder: Path, manifest: Manifest, given: Mapping[str, str | Sequence[str]]) -> dict[str, Array]:
    """Arrays by input name, from what a user gave by input name. `text`, where no input has that name, goes through the tokenizer."""
    inputs: dict[str, Array] = {}
    declared = {spec.name: spec for spec in manifest.inputs}
    for name, value in given.items():
        if name in declared:
            inputs[name] = read_input(value, declared[name], manifest)
        elif name == TEXT:
            inputs |= tokenize(read_texts(value), folder, manifest)
        else:
            inputs[name] = np.empty(0)  # the session says that there is no such input
    return inputs


def run(session: Session, given: Mapping[str, str | Sequence[str]]) -> dict[str, Array]:
    """The outputs for files, folders, literals and text, as `read_input` and `read_texts` take them. InputError if they will not do."""
    return session.run(assemble(session.folder, session.manifest, given))


def save_outputs(outputs: Mapping[str, Array], path: Path | str) -> None:
    """Write .npz (all), .npy (the only one) or .json (nested lists), whole or not at all. bfloat16 is written as float32."""
    target = Path(path)
    arrays = {name: array.astype(np.float32) if array.dtype == numpy_dtype("bfloat16") else array for name, array in outputs.items()}
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    _check(arrays, target)
    try:
        with partial.open("wb") as file:
            _write(arrays, target.suffix, file)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _check(arrays: Mapping[str, Array], path: Path) -> None:
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path} does not say how to write outputs: end it with {', '.join(_SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a folder to write {path.name} into")
    if path.suffix == ".npy" and len(arrays) != 1:
        raise InputError(f"{path} holds one array, and the outputs are {', '.join(arrays)}; write a .npz")
    for name, array in arrays.items():
        if path.suffix == ".json" and not np.isfinite(array).all():
            raise InputError(f"`{name}` holds values that are not finite, which JSON cannot; write a .npz")


def _write_npz(arrays: Mapping[str, Array], file: IO[bytes]) -> None:
    # As np.savez, which takes names as keywords and so cannot write an output called `file`.
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _write(arrays: Mapping[str, Array], suffix: str, file: IO[bytes]) -> None:
    match suffix:
        case ".npz":
            _write_npz(arrays, file)
        case ".npy":
            np.save(file, next(iter(arrays.values())), allow_pickle=False)
        case _:
            text = json.dumps({name: array.tolist() for name, array in arrays.items()}, allow_nan=False)
            file.write(text.encode() + b"\n")
