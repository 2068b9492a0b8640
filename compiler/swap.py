"""Putting a finished folder in another's place: locked, in one step where the system can, never half."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lamina.compiler.missing import MachineError

_AT_FDCWD, _EXCHANGE = -100, 2  # from <fcntl.h> and <linux/fs.h>
_NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)


class BundleInUse(MachineError):
    """Another process is writing the same bundle."""


@contextmanager
def locked(path: Path, target: Path) -> Iterator[None]:
    """Hold the lock file `path`, which is gone afterwards. Raises BundleInUse at once when another process holds it."""
    held = _acquire(path)
    if held is None:
        raise BundleInUse(f"another process is compiling to {target}; it was left to finish and this one changed nothing")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(held)


def _acquire(path: Path) -> int | None:
    import fcntl

    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            return None
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            return file
        os.close(file)  # its last holder removed it between our two calls


def replace_folder(built: Path, target: Path, aside: Path) -> None:
    """Make `built` the folder at `target`. What stood there is afterwards at `built` or gone.

    Where two names cannot be exchanged (not Linux, or an unusual file system), the old folder stands at `aside` for a moment;
    `restore` brings it back if that was the last moment.
    """
    if not target.exists():
        built.rename(target)
    elif not exchange(built, target):
        target.rename(aside)
        built.rename(target)
        shutil.rmtree(aside)
    sync(target.parent)


def restore(target: Path, aside: Path) -> None:
    """Undo or finish a replacement that was cut off between its two renames."""
    if aside.exists():
        if target.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(target)


def exchange(one: Path, other: Path) -> bool:
    """Let two names trade places in one step; False where the system cannot."""
    import ctypes

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    if (number := ctypes.get_errno()) in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
