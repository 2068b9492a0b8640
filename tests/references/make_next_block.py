"""The GPT of github.com/RenShuhuai-Andy/NBP under its masks. Needs `pip install torch`; `--source` is its folder nbp/modules."""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from functools import partial
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write

DIM, LAYERS, HEADS, CONTEXT = 16, 2, 4, 32
VARIANTS = {"ucf_xl": (2, True), "ucf_3b": (2, True), "k600_3b": (0, False)}  # tokens of the condition; whether the first block is hybrid
SCALES = [Scale("pos_emb", 0, 1), Scale("tok_emb.weight", 0, 2)]


def mask_of(length: int, condition: int, block: int, *, hybrid: bool) -> torch.Tensor:
    """As `get_attn_mask` of Net2NetTransformer and of HybridNet2NetTransformer make it [length, length]."""
    mask = torch.tril(torch.ones(length, length)) if hybrid else torch.zeros(length, length)
    mask[:, :condition] = 1
    start = condition + block if hybrid else condition
    for i in range(start, length, block):
        mask[i : i + block, start : i + block] = 1
    return mask


def run(model: Any, inputs: Tensors, *, condition: int, block: int, hybrid: bool) -> Tensors:
    tokens, given = inputs["tokens"], inputs["attention_mask"]
    mask = mask_of(tokens.shape[1], condition, block, hybrid=hybrid) * given[:, None, None, :]
    return {"logits": model(tokens, mask)[0]}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    authors = importlib.import_module("gpt")
    # A key's bias adds the same number to all scores of a query.
    for variant, (condition, hybrid) in VARIANTS.items():
        for block in (1, 4):
            vocabulary = 40 + (20 + block if condition else 0)
            model = authors.GPT(None, vocabulary, CONTEXT, LAYERS, HEADS, DIM, semi_ar=True, cond_token_num=condition)
            points = [
                {"tokens": Draw((n, t), "int64", 0, vocabulary), "attention_mask": Draw((n, t), "int64", 1, 2)}
                for n, t in ((1, 14), (2, 18))
            ]
            write(
                "sequence/next_block", f"{variant}_{block}", model, points,
                partial(run, condition=condition, block=block, hybrid=hybrid), reference="github.com/RenShuhuai-Andy/NBP",
                variant=variant, small=True, config={"block": block}, scales=SCALES, own=["uncond_embedding"],
                inert=["*.key.bias"],
            )  # fmt: skip


if __name__ == "__main__":
    main()
