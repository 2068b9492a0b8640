"""Folders that are written beside their place and swapped in whole, over nothing that was not exported."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lamina.compiler.swap import locked, replace_folder, restore
from lamina.runtime.errors import BundleError


@contextmanager
def replacing(target: Path, mark: str) -> Iterator[Path]:
    """A new folder to write into, which takes the target's place in one step if the block ends without an exception.

    What is replaced is an empty folder, or one that an export wrote, which holds the file `mark`: BundleError for anything else,
    BundleInUse while another process exports to the same folder.
    """
    place = Path(os.path.realpath(target))
    _check_replaceable(place, mark)
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = place.parent / f".{place.name}.old"
    with locked(place.parent / f".{place.name}.lock", place):
        restore(place, aside)
        folder = Path(tempfile.mkdtemp(prefix=f".{place.name}.tmp-", dir=place.parent))
        try:
            folder.chmod(0o755)
            yield folder
            _check_replaceable(place, mark)
            replace_folder(folder, place, aside)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _check_replaceable(place: Path, mark: str) -> None:
    if not place.name:
        raise BundleError(f"{place} cannot be replaced; name a folder in it")
    if place.exists() and not place.is_dir():
        raise BundleError(f"{place} is a file; it was not touched. Name a folder that does not exist, or an exported one to replace")
    if place.is_dir() and any(place.iterdir()) and not (place / mark).is_file():
        raise BundleError(f"{place} is a folder that was not exported; it was not touched. Name another, or remove it yourself")
