"""Write the texts of group beam search in transformers 4.49, the last line of versions that had it. Run by hand, given a folder for them:

pip install --target FOLDER --no-deps transformers==4.49.0 tokenizers==0.21.0 huggingface-hub==0.28.1
pip install --target FOLDER requests
PYTHONPATH=FOLDER python tests/references/make_diverse_beams.py

Token 0 pads, and is suppressed: version 4 lets groups that have ended choose the padding, and charges the others for it.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "runtime" / "generation"))
import decoders  # noqa: E402

EXPECTED = HERE / "expected" / "diverse_beams.json"
MODELS = {"gpt2": "ab", "llama": "bc"}


def settings() -> Iterator[dict[str, Any]]:
    """Every length penalty with every way to stop early, among groups, diversities and ends that take turns."""
    turns = itertools.cycle(
        [
            {"beams": 4, "beam_groups": 2, "diversity": 0.5, "repetition_penalty": 1.0, "eos": [2]},
            {"beams": 6, "beam_groups": 3, "diversity": 2.0, "repetition_penalty": 1.2, "eos": [2, 9, 11, 30]},
            {"beams": 4, "beam_groups": 4, "diversity": 1.0, "repetition_penalty": 1.0, "eos": [2, 9, 11, 30, 37, 41]},
            {"beams": 6, "beam_groups": 2, "diversity": 0.1, "repetition_penalty": 1.0, "eos": [9, 11]},
            {"beams": 4, "beam_groups": 2, "diversity": 0.3, "repetition_penalty": 0.8, "eos": [2, 9, 11, 30, 37, 41]},
        ]
    )
    for power, early, turn in zip(
        *zip(*itertools.product((1.0, 0.0, 2.0, -1.0), (False, True, "never")), strict=True), turns, strict=False
    ):
        yield turn | {"length_penalty": power, "early_stopping": early}


def texts(model: Any, options: dict[str, Any]) -> list[list[list[int]]]:
    """For each prompt the tokens of every beam, best first, with the end that closes them."""
    ids, mask = decoders.padded()
    found = model.generate(
        input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), do_sample=False, suppress_tokens=[0], pad_token_id=0,
        max_new_tokens=decoders.NEW, num_return_sequences=options["beams"], num_beams=options["beams"], eos_token_id=options["eos"],
        num_beam_groups=options["beam_groups"], diversity_penalty=options["diversity"], repetition_penalty=options["repetition_penalty"],
        length_penalty=options["length_penalty"], early_stopping=options["early_stopping"],
    )  # fmt: skip
    return decoders.new_tokens(found, options["eos"], options["beams"])


def main() -> None:
    assert transformers.__version__ == "4.49.0"
    cases = [
        {"model": name, "seed": seed, "options": options, "texts": texts(getattr(decoders, name)(seed), options)}
        for name, seeds in MODELS.items()
        for seed in seeds
        for options in settings()
    ]
    EXPECTED.write_text(json.dumps(cases, separators=(",", ":")).replace('{"model"', '\n{"model"') + "\n", encoding="utf-8")
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
