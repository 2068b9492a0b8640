"""Whether the files of a bundle are those that its manifest records."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from lamina.runtime.errors import BundleError
from lamina.runtime.parts import FileRecord

_MEND = "the bundle is damaged: copy it again, or compile the spec again"


def check_sizes(folder: Path, files: Mapping[str, FileRecord]) -> None:
    """Every file is a regular file inside the folder with the recorded size. BundleError otherwise. Reads no contents."""
    root = folder.resolve()
    for name, record in files.items():
        size = _size(root, name)
        if size != record.bytes:
            raise BundleError(f"{folder / name} has {size} bytes where the manifest records {record.bytes}; {_MEND}")


def check_hashes(folder: Path, files: Mapping[str, FileRecord], names: Iterable[str]) -> None:
    """The named files have the recorded SHA-256. BundleError otherwise. About 0.5 s a gigabyte."""
    for name in names:
        with (folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != files[name].sha256:
            raise BundleError(f"{folder / name} does not have the SHA-256 that the manifest records; {_MEND}")


@contextmanager
def hashes_meanwhile(folder: Path, files: Mapping[str, FileRecord], names: Iterable[str]) -> Iterator[None]:
    """As `check_hashes`, in a thread beside what is done within. BundleError at the end, also in place of what went wrong within."""
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(check_hashes, folder, files, tuple(names))
        try:
            yield
        finally:
            checked.result()


def _size(root: Path, name: str) -> int:
    try:
        path = (root / name).resolve(strict=True)
        status = path.stat()
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        raise BundleError(f"{root / name} is missing; {_MEND}") from None
    if not path.is_relative_to(root):
        raise BundleError(f"{root / name} is a link that leads out of the bundle, to {path}; a bundle must hold its own files")
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{root / name} is not a regular file; {_MEND}")
    return status.st_size
