"""Video written block after block: one graph for the whole and for a block of tokens in, a block out."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "sequence" / "next_block.yaml"
CONDITION, BLOCK = 2, 4
CUTS = {"ucf_3b": [0, 2, 3, 4, 5, 6, 10, 14, 18], "k600_3b": [0, 4, 8, 12, 16, 20]}  # the condition, the first block by tokens, then blocks


def compiled(variant: str, folder: Path, block: int = BLOCK) -> lamina.Session:
    return lamina.Session(lamina.compile(lamina.load(SPEC, variant, small=True, block=block), folder / "bundle"))


@pytest.mark.parametrize("variant", CUTS)
def test_blocks_one_by_one_give_what_the_whole_gives(variant: str, tmp_path: Path) -> None:
    """Also where the condition of one row is padded."""
    session, cuts = compiled(variant, tmp_path), CUTS[variant]
    tokens = np.random.default_rng(0).integers(0, 40, (2, cuts[-1]))
    mask = np.ones_like(tokens)
    mask[1, 0] = variant == "k600_3b"
    whole = session(tokens=tokens, attention_mask=mask)["logits"]
    stream = session.stream()
    pieces = [stream(tokens=tokens[:, a:b], attention_mask=mask[:, :b])["logits"] for a, b in itertools.pairwise(cuts)]
    seen = mask.astype(bool)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1)[seen], whole[seen], atol=1e-5 * np.abs(whole).max())
    assert pieces[-1].shape[1] == BLOCK  # as many in as out


@pytest.mark.parametrize("variant", CUTS)
def test_a_token_matters_to_its_block_and_to_later_ones(variant: str, tmp_path: Path) -> None:
    session, cuts = compiled(variant, tmp_path), CUTS[variant]
    tokens = np.random.default_rng(0).integers(0, 40, (1, cuts[-1]))
    mask = np.ones_like(tokens)
    before = session(tokens=tokens, attention_mask=mask)["logits"]
    for start, end in itertools.pairwise(cuts):
        other = tokens.copy()
        other[0, end - 1] = 39 - other[0, end - 1]
        moved = np.abs(session(tokens=other, attention_mask=mask)["logits"] - before).max(axis=(0, 2)) > 1e-6
        assert moved.tolist() == [i >= start for i in range(cuts[-1])]


def test_a_block_of_one_is_next_token_prediction(tmp_path: Path) -> None:
    """Without a condition each token matters to itself and to later ones alone."""
    session = compiled("k600_3b", tmp_path, block=1)
    tokens = np.random.default_rng(0).integers(0, 40, (1, 9))
    before = session(tokens=tokens, attention_mask=np.ones_like(tokens))["logits"]
    for place in range(9):
        other = tokens.copy()
        other[0, place] = 39 - other[0, place]
        moved = np.abs(session(tokens=other, attention_mask=np.ones_like(tokens))["logits"] - before).max(axis=(0, 2)) > 1e-6
        assert moved.tolist() == [i >= place for i in range(9)]
