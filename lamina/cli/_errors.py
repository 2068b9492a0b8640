"""Exceptions to messages on stderr and exit codes."""

from __future__ import annotations

import errno
import os
import sys
import traceback

INPUT, MACHINE, BUG = 1, 2, 3
_USERS = ("BundleError", "InputError")
_MACHINES = ("MissingDependency", "MachineError", "BackendMissing", "BundleInUse", "MemoryError")


def report(error: BaseException) -> int:
    """Print what happened; returns the exit code."""
    names = [c.__name__ for c in type(error).__mro__]
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0
    if isinstance(error, KeyboardInterrupt):
        print("interrupted; nothing was changed", file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's last flush has somewhere to go
        return 0
    if "ClickException" in names:
        error.show()  # type: ignore[attr-defined]
        return INPUT
    if "SpecError" in names:
        print(error, file=sys.stderr)
        return INPUT
    if any(n in _USERS for n in names):
        print(f"error: {error}", file=sys.stderr)
        return INPUT
    if any(n in _MACHINES for n in names) or isinstance(error, OSError):
        print(f"error: {_plain(error)}", file=sys.stderr)
        return INPUT if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError) else MACHINE
    traceback.print_exception(error)
    print("\nThis is a bug of Lamina, not of your file. Please report it with the text above.", file=sys.stderr)
    return BUG


def _plain(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error.filename or 'while writing'}); nothing was changed"
    return str(error) or type(error).__name__
