"""What is known to work: evidence that the tests recorded about each spec of the zoo, and whether the spec is still the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from lamina.schema.spec import ModelSpec

EVIDENCE = Path(__file__).resolve().parent / "specs" / "evidence.json"
CHECKS = ("parameters", "parity", "torch", "onnxruntime", "tensorrt")  # what an architecture must show before it counts as working
Checks = Mapping[str, str]


def digest(spec: ModelSpec) -> str:
    """The sha256 of everything the model is made of: its file and the files that it imports."""
    texts = sorted((Path(name).name, text) for name, text in spec.sources.items() if not name.startswith("--"))
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def status(spec: ModelSpec) -> dict[str, Checks] | None:
    """By variant (`""` where there are none), each check with the figure it showed; None when there is no evidence of this very text."""
    recorded = json.loads(EVIDENCE.read_text(encoding="utf-8")) if EVIDENCE.is_file() else {}
    entry = recorded.get(key(spec))
    if entry is None or entry["sha256"] != digest(spec):
        return None
    found: dict[str, Checks] = entry["variants"]
    return found


def key(spec: ModelSpec) -> str:
    """`vision/vit`."""
    return f"{spec.path.parent.name}/{spec.path.stem}"
