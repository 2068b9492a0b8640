"""Diverse beam search against group beam search of transformers 4.49, whose texts `make_diverse_beams.py` stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import decoders
import pytest

CASES = json.loads((Path(__file__).parent / "expected" / "diverse_beams.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['model']}-{case['seed']}-{'-'.join(map(str, case['options'].values()))}")
def test_texts_equal_transformers(case: dict[str, Any]) -> None:
    """Every beam of every prompt, in order. They close a text with the first of the ends, whichever it was that came."""
    options = case["options"]
    steps = decoders.TorchSteps(getattr(decoders, case["model"])(case["seed"]))
    texts = decoders.found(steps, num_return=options["beams"], suppress_tokens=[0], **options)
    closed = [[[*text.ids[:-1], options["eos"][0] if text.finish == "eos" else text.ids[-1]] for text in group] for group in texts]
    assert closed == case["texts"]
