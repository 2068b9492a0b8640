"""Hydra over timm's vision transformers. Needs timm; `--source` is the folder `vtab1k` of a checkout of github.com/extremebird/Hydra."""

from __future__ import annotations

from functools import partial
from typing import Any

import timm
import torch
from authors import imported
from fill import Draw, Scale
from making import Tensors, write

hydra = imported("hydra", __doc__)
CONFIG = {"scale": 0.1, "dropout": 0.2}


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["image"])}


def unmasked(attention: Any, x: torch.Tensor, **masks: Any) -> Any:
    assert not any(masks.values())
    return attention(x)


def adapted(model: Any, dim: int, rank: int) -> Any:
    """Their branches have the sizes of ViT-B; in a smaller model they are made again. Their attention knows no masks."""
    hydra.set_hydra(model, "hydra_both", CONFIG, dim=rank)
    for block in model.blocks:
        block.attn.forward = partial(unmasked, block.attn.forward)
        for part, branches in ((block.mlp, ("hydra_mlp_par", "hydra_mlp_seq")), (block.attn, ("hydra_proj_par", "hydra_proj_seq"))):
            for name in branches:
                width = 4 * dim if name == "hydra_mlp_par" else dim
                setattr(part, name, hydra.Hydra_layer(width, rank, dim, CONFIG["scale"], CONFIG["dropout"]))
    return model


def main() -> None:
    small = timm.models.VisionTransformer(img_size=32, patch_size=16, embed_dim=24, depth=2, num_heads=12, num_classes=10)
    whole = timm.create_model("vit_base_patch16_224", num_classes=100)
    strong = [Scale("*up_proj.weight", 0, 6), Scale("*up_proj.bias", 0, 2)]
    for name, model, dim, rank, size in (("base_small", small, 24, 3, 32), ("base", whole, 768, 2, 224)):
        points = [{"image": Draw((n, 3, size, size))} for n in (2, 1)]
        write(
            "adapter/hydra_adapter", name, adapted(model, dim, rank), points, run, variant="base", small=dim == 24, sweep=dim != 24,
            reference=f"github.com/extremebird/Hydra over timm {timm.__version__}", scales=strong,
        )  # fmt: skip


if __name__ == "__main__":
    main()
