"""The authors' IdentityFormer, RandFormer, ConvFormer and CAFormer. Run by hand where timm is installed, with a checkout of theirs:

git clone https://github.com/sail-sg/metaformer && python tests/references/make_metaformer.py metaformer
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from authors import load
from fill import Draw, Scale
from making import Tensors, write

SMALL = {"depths": [1, 1, 2, 1], "dims": [8, 16, 24, 32], "num_classes": 10}
SCALES = (
    Scale("*.res_scale?.scale", 1, 0.25),
    Scale("*.act*.scale", 1, 0.25),
    Scale("*.random_matrix", 1, 0.5),  # `run` makes its rows sums to one, as those of a softmax are
)
SIZES = ("s12", "s24", "s36", "m36", "m48"), ("s18", "s36", "m36", "b36")
VARIANTS = [f"{family}former_{size}" for f, families in enumerate((("identity", "rand"), ("conv", "ca"))) for family in families for size in SIZES[f]]


def run(model: Any, inputs: Tensors) -> Tensors:
    with torch.no_grad():
        for key, matrix in model.named_parameters():
            if key.endswith("random_matrix"):
                matrix /= matrix.sum(dim=1, keepdim=True)
    return {"logits": model(inputs["image"])}
