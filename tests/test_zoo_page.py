"""docs/zoo.md is what docs/make_zoo.py writes."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_is_current() -> None:
    page = runpy.run_path(str(DOCS / "make_zoo.py"))["page"]
    assert (DOCS / "zoo.md").read_text(encoding="utf-8") == page(), "run `python docs/make_zoo.py`"
