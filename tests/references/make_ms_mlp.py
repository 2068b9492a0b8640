"""The authors' MS-MLP. Needs timm, and `--source`, a checkout of github.com/JegZheng/MS-MLP."""

from __future__ import annotations

from typing import Any

import torch
from authors import imported
from fill import Draw
from making import Tensors, write

MS_MLP = imported("models.ms_mlp", __doc__).MS_MLP
VARIANTS = {
    "tiny": {"depths": [3, 3, 9, 3]},
    "small": {"depths": [3, 3, 27, 3]},
    "base": {"depths": [3, 3, 27, 3], "embed_dim": 128},
}


def run(model: Any, inputs: Tensors) -> Tensors:
    """Their code insists on the size that it was built for, but builds nothing of that size."""
    size = inputs["image"].shape[2:]
    for layer in (model.patch_embed, *(layer.downsample for layer in model.layers[:-1])):
        layer.img_size, size = size, tuple(s // p for s, p in zip(size, layer.patch_size, strict=True))
        layer.patches_resolution = size
    return {"logits": model(inputs["image"])}


def case(variant: str, sizes: list[tuple[int, int]], *, small: bool, **options: Any) -> None:
    write(
        "vision/ms_mlp", f"{variant}-small" if small else variant, MS_MLP(**options),
        [{"image": Draw((n, 3, *s))} for n, s in enumerate(sizes, 1)], run, reference="the authors' code", variant=variant, small=small,
        sweep=not small, macs_at=dict(zip("NHW", (1, *sizes[0]), strict=True)),
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    case("tiny", [(64, 64), (96, 64), (64, 160)], small=True, depths=[1, 1, 2, 1], embed_dim=9, num_classes=10)
    for variant, options in VARIANTS.items():
        case(variant, [(224, 224), (160, 224)], small=False, **options)
