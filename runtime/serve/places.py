"""Where bundles are: folders that are one, and folders of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from lamina.runtime.errors import BundleError
from lamina.runtime.manifest import MANIFEST

Signature = tuple[tuple[str, int, int, int], ...]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_MOST_FILES = 10_000


@final
@dataclass(frozen=True, slots=True)
class Place:
    """A bundle's folder, and the model and version that it is served as."""

    model: str
    version: str
    folder: Path


def places(given: Sequence[Path]) -> list[Place]:
    """The bundles in these folders: MODEL, DIR/MODEL or DIR/MODEL/VERSION, where a version is a number and 1 unless the path says it.

    BundleError for a path that is no folder, and for two bundles of one name and version. Folders of other names are passed over.
    """
    problems = [f"{path} is not a folder; give a bundle, or a folder of bundles" for path in given if not path.is_dir()]
    found = [place for path in given if path.is_dir() for place in _inside(path)]
    seen: dict[tuple[str, str], Place] = {}
    for place in found:
        first = seen.setdefault((place.model, place.version), place)
        if first.folder.resolve() != place.folder.resolve():
            problems.append(f"{first.folder} and {place.folder} are both version {place.version} of `{place.model}`; rename one")
    if problems:
        raise BundleError("\n".join(problems))
    return list(seen.values())


def _inside(path: Path) -> list[Place]:
    path = path if path.name not in ("", "..") else path.resolve()  # `.` has a name, too; a link keeps its own
    if (path / MANIFEST).is_file():
        return _bundle(path)
    return [place for model in _folders(path) for place in (_bundle(model) if (model / MANIFEST).is_file() else _versions(model))]


def _bundle(path: Path) -> list[Place]:
    if _NAME.fullmatch(path.name) is None:
        raise BundleError(f"{path} cannot be served by the name of its folder: rename it to letters, digits, `_`, `.` and `-`")
    return [Place(path.name, "1", path)]


def _versions(model: Path) -> list[Place]:
    return [Place(model.name, path.name, path) for path in _folders(model) if _VERSION.fullmatch(path.name) and (path / MANIFEST).is_file()]


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir() and _NAME.fullmatch(child.name))


def signature(folder: Path) -> Signature:
    """What changes when a bundle does: its files' names, sizes, times and places on the disk."""
    found: list[tuple[str, int, int, int]] = []
    for path in sorted(folder.rglob("*"))[:_MOST_FILES]:
        try:
            status = path.stat()
        except OSError:  # it went while we looked: the next look sees another signature
            continue
        found.append((str(path.relative_to(folder)), status.st_size, status.st_mtime_ns, status.st_ino))
    return tuple(found)
