"""Write docs/trust.md from what the long runs of `tests/trust` recorded. A test holds the page to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "trust.md"
HEAD = """# Trust

What Lamina promises, as figures: that every target computes the same function, that what cannot be done is refused at a line, and that
failure loses nothing. `make trust` measures all of it anew and writes this page; CI runs the same checks on smaller numbers.
[security.md](security.md) says what is defended against.
"""


def page() -> str:
    """The whole page."""
    files = sorted((ROOT / "tests" / "trust" / "figures").glob("*.json"))
    return "\n".join([HEAD, *("\n".join(_section(json.loads(file.read_text(encoding="utf-8")))) for file in files)])


def _section(found: dict[str, object]) -> Iterator[str]:
    yield f"## {found['title']}\n"
    yield f"`{found['command']}` ({found['machine']})\n"
    yield "| | |"
    yield "|---|---|"
    figures = found["figures"]
    assert isinstance(figures, dict)
    yield from (f"| {what} | {figure} |" for what, figure in figures.items())
    yield ""
    if found["note"]:
        yield f"{found['note']}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
