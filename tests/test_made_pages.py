"""Pages of docs/ that have a script beside them are what it writes."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", ["zoo", "trust", "scale", "serving-figures", "performance"])
def test_the_page_is_current(name: str) -> None:
    script = DOCS / f"make_{name.replace('-', '_')}.py"
    page = runpy.run_path(str(script))["page"]
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == page(), f"run `python docs/{script.name}`"
