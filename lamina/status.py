"""What is known to work: evidence that the tests recorded about each spec of the zoo, and whether the spec is still the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from lamina.schema.spec import ModelSpec

EVIDENCE = Path(__file__).resolve().parent / "specs" / "evidence"
CHECKS = ("parameters", "parity", "torch", "onnxruntime", "tensorrt")  # what an architecture must show before it counts as working
Checks = Mapping[str, str]


def digest(spec: ModelSpec) -> str:
    """The sha256 of everything the model is made of: its file and the files that it imports."""
    texts = sorted((Path(name).name, text) for name, text in spec.sources.items() if not name.startswith("--"))
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def status(spec: ModelSpec) -> dict[str, Checks] | None:
    """By variant (`""` where there are none), each check with the figure it showed; None when there is no evidence of this very text."""
    file = evidence_file(spec)
    entry = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if entry.get("sha256") != digest(spec):
        return None
    found: dict[str, Checks] = entry["variants"]
    return found


def evidence_file(spec: ModelSpec) -> Path:
    """Where the evidence about a spec of the zoo is kept: by its family and its name."""
    return EVIDENCE / spec.path.parent.name / f"{spec.path.stem}.json"
