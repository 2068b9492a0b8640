"""Bundles are written beside their place and swapped in whole: whatever interrupts a build, what stood there before still stands."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Protocol, Self, final

from lamina.compiler.missing import MachineError
from lamina.compiler.swap import locked, replace_folder, restore, sync
from lamina.runtime.errors import BundleError

MANIFEST = "manifest.json"
_LARGEST_MANIFEST = 16 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Dumpable(Protocol):
    """A pydantic model, such as `lamina.runtime.manifest.Manifest`."""

    def model_dump(self, *, mode: str) -> dict[str, Any]: ...


@final
class BundleWriter:
    """Builds a bundle; `commit` puts it in place of the old one, in one step. Leaving without a commit leaves no trace.

    Raises BundleInUse while another process writes the same bundle, BundleError when the target is something that is not a bundle
    (it is not replaced), MachineError when the disk is full.
    """

    def __init__(self, target: Path) -> None:
        self.target = Path(os.path.realpath(target))
        self._folder = self._beside(f"tmp-{secrets.token_hex(8)}")
        self._known: dict[str, tuple[int, int, str]] = {}
        self._held = ExitStack()

    def __enter__(self) -> Self:
        _check_replaceable(self.target)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self._held.enter_context(locked(self._beside("lock"), self.target))
        restore(self.target, self._beside("old"))
        self._remove_leftovers()
        self._folder.mkdir()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._held:
            shutil.rmtree(self._folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            where = self.target.parent
            raise MachineError(f"no room on the disk of {where} ({error.strerror}); {self.target.name} was not changed") from error

    def path(self, name: str) -> Path:
        """Where to write the file of that name: a relative path inside the bundle. Its folder exists."""
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or name.startswith("/") or "\\" in name or name == MANIFEST:
            raise ValueError(f"{name!r} is not the name of a bundle's file")
        path = self._folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def hashed(self, name: str, sha256: str, nbytes: int) -> None:
        """Say the hash of a file that is written, so that it need not be read again."""
        status = self.path(name).stat()
        if status.st_size != nbytes:
            raise ValueError(f"{name} has {status.st_size} bytes, not {nbytes}")
        self._known[name] = (status.st_size, status.st_mtime_ns, sha256)

    def records(self) -> dict[str, dict[str, str | int]]:
        """SHA-256 and size of every file but the manifest, by name."""
        names = sorted(p.relative_to(self._folder).as_posix() for p in self._folder.rglob("*") if p.is_file())
        return {name: self._record(name) for name in names if name != MANIFEST}

    def commit(self, manifest: Mapping[str, Any] | Dumpable) -> None:
        """Write manifest.json, with `files` as `records` gives them, wait for the disk, and swap the bundle in."""
        data = manifest if isinstance(manifest, Mapping) else manifest.model_dump(mode="json")
        text = json.dumps({**data, "files": self.records()}, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        (self._folder / MANIFEST).write_bytes(text.encode() + b"\n")
        for path in [*self._folder.rglob("*"), self._folder]:
            sync(path)
        _check_replaceable(self.target)
        replace_folder(self._folder, self.target, self._beside("old"))

    def _record(self, name: str) -> dict[str, str | int]:
        path = self._folder / name
        status = path.stat()
        if self._known.get(name, ())[:2] != (status.st_size, status.st_mtime_ns):
            with path.open("rb") as file:
                self._known[name] = (status.st_size, status.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())
        return {"sha256": self._known[name][2], "bytes": status.st_size}

    def _beside(self, what: str) -> Path:
        return self.target.parent / f".{self.target.name}.{what}"

    def _remove_leftovers(self) -> None:
        """Remove what killed processes left. None is alive: this process holds the lock."""
        ours = re.compile(re.escape(f".{self.target.name}.tmp-") + "[0-9a-f]{16}")
        for path in self.target.parent.iterdir():
            if ours.fullmatch(path.name):
                shutil.rmtree(path)


def _check_replaceable(target: Path) -> None:
    if not target.name:
        raise BundleError(f"{target} cannot be a bundle; name a folder")
    if not target.exists():
        return
    if not target.is_dir():
        raise BundleError(f"{target} is a file; it was not touched. Name a folder that does not exist, or a bundle to replace")
    if any(target.iterdir()) and not _is_bundle(target):
        raise BundleError(f"{target} is a folder that is not a bundle; it was not touched. Name another, or remove it yourself")


def _is_bundle(folder: Path) -> bool:
    try:
        with (folder / MANIFEST).open("rb") as file:
            found = json.loads(file.read(_LARGEST_MANIFEST))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "lamina" in found
