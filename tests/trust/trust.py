"""What a long run showed, kept where `docs/make_trust.py` reads it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path

FIGURES = Path(__file__).parent / "figures"


def record(name: str, title: str, command: str, figures: Mapping[str, str | int | float], note: str = "") -> None:
    """Keep the figures of a run: a title, the command that shows them again, and what each of them is."""
    found = {"title": title, "command": command, "figures": dict(figures), "note": note, "machine": _machine()}
    FIGURES.mkdir(exist_ok=True)
    (FIGURES / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _machine() -> str:
    import onnxruntime
    import torch

    versions = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {versions}"
