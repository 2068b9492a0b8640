"""The small NASNet-A as `pretrainedmodels` has it. Needs `pip install pretrainedmodels`.

Its multiply-adds are not compared: where a cell halves the image, it computes one row and one column more and drops them.
timm's cells, which `make_timm.py` puts together to the same network, compute none too many.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write
from pretrainedmodels.models.nasnet_mobile import NASNetAMobile

LIVELY = (Scale("*bn*.weight", 1.2, 0.25), Scale("*bn*.bias", 0.0, 1.5))
SIZES = ((224, 224), (223, 224))  # its pads, written out, and its last pool are for these two sizes alone


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["image"])}


def case(name: str, model: torch.nn.Module, config: Mapping[str, int]) -> None:
    write(
        "vision/nasnet", name, model, [{"image": Draw((n, 3, *size))} for n, size in enumerate(SIZES, 1)], run,
        reference=f"pretrainedmodels {version('pretrainedmodels')}", variant="mobile", config=config, sweep=not config, scales=LIVELY,
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    case("mobile", NASNetAMobile(num_classes=1000), {})
    narrow = NASNetAMobile(num_classes=10, stem_filters=8, penultimate_filters=384)
    case("mobile-narrow", narrow, {"filters": 16, "stem": 8, "classes": 10})
