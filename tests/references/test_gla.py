"""Gated linear attention reads padded rows as it reads them alone."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from causal_lm import tokens

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "language" / "gla.yaml"


@pytest.mark.parametrize("kv_heads", [4, 1])
def test_padding_leaves_nothing_in_the_memory(kv_heads: int, tmp_path: Path) -> None:
    """Rows that are padded on the left give what they give alone, in one call and in pieces."""
    spec = lamina.load(SPEC, small=True, every=True, kv_heads=kv_heads).model_copy(update={"tokenizer": None})
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle"))
    ids, padding = tokens(3, 70, 96), [0, 4, 66]
    mask = (np.arange(70) >= np.array(padding)[:, None]).astype(np.int64)
    whole, stream = session(input_ids=ids, attention_mask=mask)["logits"], session.stream()
    cuts = [slice(a, b) for a, b in itertools.pairwise([0, 2, 64, 65, 70])]
    pieces = np.concatenate([stream(input_ids=ids[:, cut], attention_mask=mask[:, cut])["logits"] for cut in cuts], axis=1)
    for row, start in enumerate(padding):
        alone = session(input_ids=ids[row : row + 1, start:], attention_mask=np.ones((1, 70 - start), np.int64))["logits"][0]
        for logits in (whole, pieces):
            np.testing.assert_allclose(logits[row, start:], alone, atol=2e-5 * np.abs(alone).max())
