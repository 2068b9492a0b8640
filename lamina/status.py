"""What is known to work: evidence that the tests recorded about each spec of the zoo, and whether the spec is still the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from lamina.schema.spec import ModelSpec

EVIDENCE = Path(__file__).resolve().parent / "specs" / "evidence"
CHECKS = ("parameters", "parity", "torch", "onnxruntime", "tensorrt")  # what an architecture must show before it counts as working
Checks = Mapping[str, str]


def digest(spec: ModelSpec) -> str:
    """The sha256 of everything the model may be made of: its file, its base's, and of what these import the blocks that are named in it."""
    own = "\n".join(spec.sources[file.name] for file in spec.files)
    return hashlib.sha256(json.dumps([own, *sorted(_used(own, _blocks(spec)))]).encode()).hexdigest()


def _blocks(spec: ModelSpec) -> dict[str, str]:
    """The text of every imported block, by its name."""
    found: dict[str, str] = {}
    pending = list(spec.file.imports)
    while pending:
        file = pending.pop()
        pending += file.imports
        lines = spec.sources[file.name].splitlines()
        starts = sorted((block.span.line - 1, name) for name, block in file.blocks.items())
        ends = [start for start, _ in starts[1:]] + [len(lines)]
        found |= {name: "\n".join(lines[start:end]) for (start, name), end in zip(starts, ends, strict=True)}
    return found


def _used(text: str, blocks: Mapping[str, str]) -> set[str]:
    """The texts of the blocks that a text names, and of those that these name."""
    used: set[str] = set()
    pending = [text]
    while pending:
        words = set(re.findall(r"\w+", pending.pop()))
        fresh = {blocks[name] for name in words & blocks.keys()} - used
        used |= fresh
        pending += fresh
    return used


def status(spec: ModelSpec) -> dict[str, Checks] | None:
    """By variant (`""` where there are none), each check with the figure it showed; None when what is known is of another text."""
    file = evidence_file(spec)
    if not file.is_file():
        return {}
    entry = json.loads(file.read_text(encoding="utf-8"))
    if entry["sha256"] != digest(spec):
        return None
    found: dict[str, Checks] = entry["variants"]
    return found


def evidence_file(spec: ModelSpec) -> Path:
    """Where the evidence about a spec of the zoo is kept: by its family and its name."""
    return EVIDENCE / spec.path.parent.name / f"{spec.path.stem}.json"
