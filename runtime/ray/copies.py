"""A machine's copies of the bundles on a shelf.

There is one copy of a bundle for all processes of a user on a machine, named by its manifest's SHA-256. Who uses it holds a shared
lock; a copy that nobody holds goes when the next process looks. Locks end with their process, so what was killed leaves nothing for long.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import ray

from lamina.runtime.errors import BundleError
from lamina.runtime.integrity import check_hashes
from lamina.runtime.manifest import MANIFEST, parse_manifest, read_manifest
from lamina.runtime.ray.shelf import Listing

_DIGEST = re.compile(r"[0-9a-f]{64}")


@final
class Copies:
    """`folder` has a link MODEL/VERSION to the copy of each bundle that was on the shelf when `refresh` last looked."""

    def __init__(self, shelf: Any) -> None:
        self._shelf, self._root = shelf, _root()
        self._listing: Listing = {}
        self._held: dict[str, int] = {}
        with _locked(self._root / "lock"):  # as others sweep
            self.folder = Path(tempfile.mkdtemp(prefix="links-", dir=self._root))
            self._own = os.open(self.folder, os.O_RDONLY)
            fcntl.flock(self._own, fcntl.LOCK_EX)

    def refresh(self) -> None:
        """Copy what is new or changed, and let go of what is gone. BundleError, OSError and RayError leave what was there."""
        found: Listing = ray.get(self._shelf.listing.remote())
        for (model, version), digest in found.items():
            if self._listing.get((model, version)) != digest:
                self._hold(model, version, digest)
                _link(self.folder / model / version, self._root / digest)
                self._listing[model, version] = digest
        for model, version in self._listing.keys() - found.keys():
            (self.folder / model / version).unlink()
            del self._listing[model, version]
        self._let_go(self._held.keys() - set(self._listing.values()))
        self._sweep()

    def close(self) -> None:
        """Let go of all."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._own)
        self._let_go({*self._held})
        self._sweep()

    def _hold(self, model: str, version: str, digest: str) -> None:
        """Have a copy, and its lock."""
        if digest in self._held:
            return
        lock = os.open(self._root / f"{digest}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not self._has(digest, lock):
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not (self._root / digest).is_dir():
                    self._copy(model, version, digest)
        except BaseException:
            os.close(lock)
            raise
        self._held[digest] = lock

    def _has(self, digest: str, lock: int) -> bool:
        # Looked at under the shared lock, as another process may sweep between the two locks.
        fcntl.flock(lock, fcntl.LOCK_SH)
        return (self._root / digest).is_dir()

    def _let_go(self, digests: set[str]) -> None:
        for digest in digests:
            os.close(self._held.pop(digest))

    def _sweep(self) -> None:
        """Remove copies that nobody holds, and links of processes that ended."""
        with _locked(self._root / "lock"):
            for path in self._root.iterdir():
                links, digest = path.name.startswith("links-"), path.name.removesuffix(".partial")
                if path.is_dir() and (links or _DIGEST.fullmatch(digest)) and _free(path if links else self._root / f"{digest}.lock"):
                    shutil.rmtree(path, ignore_errors=True)

    def _copy(self, model: str, version: str, digest: str) -> None:
        """Copy a bundle, and check every byte. BundleError: it is damaged, or was replaced meanwhile."""
        partial = self._root / f"{digest}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        whole = b"".join(self._pieces(model, version, MANIFEST))
        if hashlib.sha256(whole).hexdigest() != digest:
            raise BundleError(f"version {version} of `{model}` was replaced while it was copied")
        (partial / MANIFEST).write_bytes(whole)
        for name in parse_manifest(whole, partial / MANIFEST).files:
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            with (partial / name).open("wb") as file:
                file.writelines(self._pieces(model, version, name))
        manifest = read_manifest(partial)
        check_hashes(partial, manifest.files, manifest.files)
        partial.rename(self._root / digest)

    def _pieces(self, model: str, version: str, name: str) -> Iterator[bytes]:
        """What a file holds, a piece after the other."""
        start = 0
        while piece := ray.get(self._shelf.read.remote(model, version, name, start)):
            yield piece
            start += len(piece)


def _root() -> Path:
    """A folder that only this user may enter. BundleError: there is another in its place."""
    root = Path(tempfile.gettempdir()) / f"lamina-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise BundleError(f"{root} must be a folder that only this user may enter, for copies of bundles; remove it, or set TMPDIR")
    return root


def _link(link: Path, target: Path) -> None:
    """Let a link lead elsewhere, in one step."""
    link.parent.mkdir(exist_ok=True)
    new = link.with_name(f".{link.name}")
    new.symlink_to(target)
    new.replace(link)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _free(path: Path) -> bool:
    lock = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
