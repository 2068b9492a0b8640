"""What the machine lacks: errors that end a command with exit code 2."""

from __future__ import annotations

import importlib.util


class MachineError(Exception):
    """The machine cannot do what was asked: no room on the disk, a folder that may not be written, a package not installed."""


class MissingDependency(MachineError):
    """An optional package is not installed. The message says how to install it."""

    def __init__(self, purpose: str, package: str, install: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed\n  = help: {install}")
        self.package, self.install = package, install


def need_torch(purpose: str) -> None:
    """Raise MissingDependency unless PyTorch is installed; it is not imported."""
    if importlib.util.find_spec("torch") is None:
        raise MissingDependency(purpose, "PyTorch", "pip install lamina[torch]")
