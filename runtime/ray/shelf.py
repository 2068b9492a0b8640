"""Bundles of one machine, which the others of its cluster copy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import ray

from lamina.runtime.errors import BundleError
from lamina.runtime.integrity import check_hashes
from lamina.runtime.manifest import MANIFEST, read_manifest
from lamina.runtime.ray.cluster import here
from lamina.runtime.serve.places import Place, places

PIECE = 8 * 2**20
"""The most bytes that are read at a time."""
Listing = dict[tuple[str, str], str]
"""The SHA-256 of a bundle's manifest, which has those of its files, by model and version."""


@final
class Shelf:
    """An actor on the machine that has the folders. Paths are as for `places`."""

    def __init__(self, given: Sequence[Path]) -> None:
        self._given = given
        self._folders: dict[tuple[str, str], Path] = {}

    def listing(self) -> Listing:
        """What is there now. BundleError as `places`; OSError for a bundle that is being replaced."""
        self._folders = {(place.model, place.version): place.folder for place in places(self._given)}
        return {key: hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest() for key, folder in self._folders.items()}

    def read(self, model: str, version: str, name: str, start: int) -> bytes:
        """The bytes of a file of a bundle from `start` on, PIECE at most; none behind its end."""
        if not self._folders:  # it was started anew
            self.listing()
        with (self._folders[model, version] / name).open("rb") as file:
            file.seek(start)
            return file.read(PIECE)


@contextmanager
def shelved(given: Sequence[Path]) -> Iterator[Any]:
    """A shelf's actor, of the bundles in these folders of this machine. BundleError as `checked_places`."""
    checked_places(given)
    absolute = [path.absolute() for path in given]
    shelf: Any = ray.remote(Shelf).options(num_cpus=0, max_restarts=-1, max_task_retries=-1, label_selector=here()).remote(absolute)
    try:
        yield shelf
    finally:
        ray.kill(shelf)


def checked_places(given: Sequence[Path]) -> list[Place]:
    """The bundles in these folders, all whole. BundleError with what is wrong with them."""
    found = places(given)
    if not found:
        raise BundleError(f"there is no bundle in {', '.join(map(str, given))}")
    for place in found:
        manifest = read_manifest(place.folder)
        check_hashes(place.folder, manifest.files, manifest.files)
    return found
