"""lamina list"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from lamina.cli._options import Json, zoo

if TYPE_CHECKING:
    from lamina.schema.spec import ModelSpec


def command(
    json: Json = False,
    status: Annotated[bool, typer.Option("--status", help="What the tests have shown of each variant.")] = False,
) -> None:
    """List the zoo: the specs that come with Lamina, their variants and papers."""
    from lamina.schema.read import read_spec

    specs = [read_spec(p) for p in zoo()]
    if json:
        import json as encoder

        print(encoder.dumps([_entry(s) for s in specs], indent=1))
        return
    if status:
        print("\n".join(_table([row for spec in specs for row in _status(spec)])))
        return
    width = max(len(s.path.stem) for s in specs) + 2
    print("\n".join(line for spec in specs for line in _described(spec, width)))


def _described(spec: ModelSpec, width: int) -> Iterator[str]:
    """The name and what it is, and below them its variants."""
    paper = f" (arXiv {spec.paper.arxiv})" if spec.paper and spec.paper.arxiv else ""
    yield f"{spec.path.stem:<{width}}{spec.summary}{paper}"
    indent = " " * (width + 2)
    variants = textwrap.TextWrapper(shutil.get_terminal_size().columns, indent, indent, break_on_hyphens=False)
    yield from variants.wrap(", ".join(spec.variants))


def _status(spec: ModelSpec) -> Iterator[list[str]]:
    """A row for each variant: its name, then each check's figure."""
    from lamina.status import CHECKS, status

    found = status(spec)
    for variant in spec.variants or [""]:
        shown = (found or {}).get(variant, {})
        missing = "changed since it was last tested" if found is None else "not shown"
        yield [f"{spec.path.stem} {variant}".strip(), *(shown.get(check, missing) for check in CHECKS)]


def _table(rows: list[list[str]]) -> Iterator[str]:
    from lamina.status import CHECKS

    lines = [["", *CHECKS], *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _entry(spec: ModelSpec) -> dict[str, object]:
    from lamina.status import status

    paper = spec.paper.model_dump() if spec.paper else None
    about = {"model": spec.model, "file": str(spec.path), "variants": list(spec.variants), "summary": spec.summary}
    return about | {"paper": paper, "status": status(spec)}
