"""docs/zoo.md, docs/trust.md and docs/scale.md are what the scripts beside them write."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", ["zoo", "trust", "scale"])
def test_the_page_is_current(name: str) -> None:
    page = runpy.run_path(str(DOCS / f"make_{name}.py"))["page"]
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == page(), f"run `python docs/make_{name}.py`"
