"""A decoder whose prompt's beginning is one bundle and whose text another, against what its authors' code gave in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from cases import references
from evidence import Record
from fill import Array
from safetensors.numpy import save_file

import lamina


def in_parts(path: Path, name: str, folder: Path, record: Record) -> Mapping[str, Array]:
    """What the prefix of the last run leaves to the text, which is given a token, then the others."""
    case = next(case for case in references() if path.match(f"{case.spec}.yaml") and case.name == name)
    save_file({key: np.ascontiguousarray(array) for key, array in case.checkpoint().items()}, folder / "authors.safetensors")
    prefix, text = (_opened(path, f"{name}-{part}", folder) for part in ("prefix", "text"))
    worst, memory = 0.0, {}
    for feeds, outputs in zip(case.inputs(), case.outputs(), strict=True):
        after = feeds.pop("after")
        memory = prefix(**feeds)
        stream = text.stream()
        pieces = [stream(**memory, after=part)["logits"] for part in np.split(after, [1], axis=1) if part.size]
        want = outputs["logits"][:, -after.shape[1] :]
        worst = max(worst, float(np.abs(np.concatenate(pieces, axis=1) - want).max() / np.abs(want).max()))
    assert worst < 1e-5
    for part in ("prefix", "text"):
        record(path, f"{name}-{part}", "parity", f"{worst:.0e} of {case.reference}, small")
    return memory


def _opened(path: Path, variant: str, folder: Path) -> lamina.Session:
    spec = lamina.load(path, variant=variant, small=True, every=True)
    return lamina.Session(lamina.compile(spec, folder / variant, weights=folder / "authors.safetensors"))
