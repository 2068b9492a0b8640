"""What a run's figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def machine() -> dict[str, str]:
    return {"processor": _processor(), "cores": str(os.cpu_count()), "system": platform.platform(), **_versions()}


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    widest = next((f for f in ("avx512f", "avx2", "avx") if f in flags), "")
    return f"{names[0] if names else platform.processor()} {widest}".strip()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("torch", "onnxruntime", "openvino", "timm", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
