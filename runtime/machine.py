"""What figures were measured on, and what of it decides which code is fastest."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_FEATURES = (
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
)
_PACKAGES = ("torch", "onnxruntime", "openvino", "timm", "transformers")


def machine() -> dict[str, str]:
    """The processor and the widest of its instructions, its cores, the system, how busy it is, and versions of what computes."""
    known = {"processor": f"{processor()} {_widest()}".strip(), "cores": str(cores()), "system": platform.platform()}
    busy = {"load average": f"{os.getloadavg()[0]:.1f}"} if hasattr(os, "getloadavg") else {}  # not on Windows
    return known | busy | _versions()


def processor() -> str:
    """Its name."""
    return _line("model name") or platform.processor() or platform.machine()


def cores() -> int:
    """How many the system counts."""
    return os.cpu_count() or 1


def features() -> tuple[str, ...]:
    """The processor's instructions that linear algebra is written with, by Linux's names; none where they are not known."""
    held = {*_line("flags").split(), *_line("Features").split()}
    return tuple(name for name in _FEATURES if name in held)


def _widest() -> str:
    return next((name for name in ("avx512f", "avx2", "avx") if name in features()), "")


def _line(key: str) -> str:
    """Of /proc/cpuinfo, the first of that key; empty where there is none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == key), "")


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
