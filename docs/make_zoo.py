"""Write docs/zoo.md: every architecture, what is known to work of each variant, and a diagram. A test holds the page to it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import lamina
from lamina.compiler.diagram import diagram
from lamina.compiler.elaborate import elaborate
from lamina.schema.spec import ModelSpec
from lamina.status import CHECKS, status

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "zoo.md"
BOXES = 16  # more are hard to read
HEAD = """# The zoo

What the tests recorded of each variant: its parameters, its distance from a reference that others wrote, how far PyTorch and ONNX Runtime
are from float64, and whether TensorRT builds the whole graph. Errors are relative to the largest magnitude of the output. `make evidence`
records it anew and writes this page; [tests/references](../tests/references/README.md) says what was run. Diagrams are of the small form.
"""


def page() -> str:
    """The whole page."""
    files = [path for path in sorted((ROOT / "specs").glob("*/*.yaml")) if path.parent.name != "blocks"]
    parts = [HEAD]
    for family, paths in groupby(files, lambda path: path.parent.name):
        parts.append(f"## {family.capitalize()}\n")
        parts += ["\n".join(_section(lamina.load(path))) for path in paths]
    return "\n".join(parts)


def _section(spec: ModelSpec) -> Iterator[str]:
    family = spec.path.parent.name
    yield f"### [{spec.path.stem}](../specs/{family}/{spec.path.name})\n"
    yield f"{spec.summary}.{_paper(spec)}\n"
    yield f"| variant | {' | '.join(CHECKS)} |"
    yield "|---" * (len(CHECKS) + 1) + "|"
    found = status(spec) or {}
    for variant in spec.variants or [""]:
        checks = found.get(variant, {})
        yield f"| {variant or '-'} | {' | '.join(checks.get(check, 'not shown') for check in CHECKS)} |"
    yield f"\n<details><summary>Diagram</summary>\n\n```mermaid\n{_diagram(spec)}\n```\n\n</details>\n"


def _paper(spec: ModelSpec) -> str:
    if spec.paper is None:
        return ""
    place = f" ([arXiv {spec.paper.arxiv}](https://arxiv.org/abs/{spec.paper.arxiv}))" if spec.paper.arxiv else ""
    return f" *{spec.paper.title}*{place}."


def _diagram(spec: ModelSpec) -> str:
    """At the greatest depth that can still be read."""
    graph = elaborate(lamina.load(spec.path, variant=next(iter(spec.variants), None), small=True)).graph
    drawn = [diagram(graph, depth) for depth in (3, 2, 1)]
    return next((text for text in drawn if text.count('["') <= BOXES), drawn[-1])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
