"""Segments by length and by ids are one thing: the ids of equal segments, given as an input, change nothing, at any length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fill import Draw, fill
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "sequence" / "ponet.yaml"


@pytest.mark.parametrize("segments", [1, 3, 8, 64])
def test_equal_segments_are_those_ids(segments: int, tmp_path: Path) -> None:
    """From one compiled file each: fewer tokens than segments (each is one), as many (they go in pairs), a multiple, and a rest."""
    equal = lamina.load(SPEC, "listops", small=True, segments=segments)
    given = lamina.load(SPEC, "listops", small=True, segments="null", given=True)
    state = {p.name: fill(p.name, tuple(map(int, p.shape))) for p in elaborate(equal).graph.parameters()}
    save_file(state, tmp_path / "weights.safetensors")
    by_length, by_id = (
        lamina.Session(lamina.compile(spec, tmp_path / name, weights=tmp_path / "weights.safetensors"))
        for name, spec in {"equal": equal, "given": given}.items()
    )
    for length in (2, 9, 20, 64):
        inputs = {"input_ids": Draw((2, length), "int64", 0, 32).array("ids"), "attention_mask": np.ones((2, length), np.int64)}
        inputs["attention_mask"][1, length // 2 + 1 :] = 0
        ids = np.tile(np.arange(length) // (length // segments + 1), (2, 1))
        found = by_length(**inputs)["hidden"]
        np.testing.assert_allclose(by_id(**inputs, segment_ids=ids)["hidden"], found, rtol=1e-5, atol=1e-6)
        assert not found[1, length // 2 + 1 :].any()
        other = by_id(**inputs, segment_ids=np.arange(length)[None].repeat(2, 0))["hidden"]
        alone = length < segments  # each token is a segment in both
        assert length == 2 or alone == (np.abs(other - found).max() < 1e-2)
