"""Which TensorRT is installed, found without importing it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import metadata

from lamina.compiler.missing import MissingDependency

NAMES = ("tensorrt_rtx", "tensorrt")  # best first: RTX builds engines with no GPU present
TITLES = {"tensorrt_rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}
INSTALL = 'pip install "lamina[tensorrt]"'


@dataclass(frozen=True, slots=True)
class Library:
    """An installed TensorRT: its import name and its version."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{TITLES[self.name]} {self.version}"


def find(asked: str | None = None) -> Library:
    """The library named, or the best one installed. Raises `MissingDependency` where there is none."""
    for name in (asked,) if asked else NAMES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:  # a folder that happens to have the name has no origin
            return Library(name, _version(name))
    raise MissingDependency(f"the `{asked or 'tensorrt'}` target", TITLES.get(asked or "", "TensorRT-RTX (or TensorRT)"), INSTALL)


def _version(name: str) -> str:
    distributions = metadata.packages_distributions().get(name, [])
    return metadata.version(distributions[0]) if distributions else "unknown"
