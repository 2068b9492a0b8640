"""Write docs/serving-figures.md from what `python -m benchmarks.serving` measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.serving.__main__ import PARTS, RESULTS  # noqa: E402

PAGE = ROOT / "docs" / "serving-figures.md"
HEAD = """# What serving costs

`python -m benchmarks.serving {parts}` measures `lamina serve` on one machine, with one thread for a call, as the
bare session has, and a client in a process of its own on loopback. `python docs/make_serving_figures.py` wrote this page.
The machine: {machine}.
"""


def page() -> str:
    """The whole page: of each part that was measured, what its module says of it and its figures."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    parts: Mapping[str, Any] = found["parts"]
    machine = ", ".join(f"{what} {value}" for what, value in found["machine"].items())
    text = [HEAD.format(parts=" ".join(parts), machine=machine)]
    for name, figures in parts.items():
        text += [f"## {name.capitalize()}\n", f"{PARTS[name].__doc__}\n", *PARTS[name].lines(figures), ""]
    return "\n".join(text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
