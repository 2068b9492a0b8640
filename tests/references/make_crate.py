"""The authors' CRATE and CRATE-MAE. Needs timm and einops, and `--source`, a checkout of github.com/Ma-Lab-Berkeley/CRATE."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from authors import imported
from fill import Draw, Scale
from making import Tensors, write

crate = imported("model.crate", __doc__)
mae = imported("model.crate_ae.crate_ae", __doc__)
SIZES = ("tiny", "small", "base", "large")
UNREAD = ("pos_embed", "decoder_pos_embed", "decoder_embed.*")


def scales(small: bool) -> tuple[Scale, ...]:
    """So that tokens attend to themselves, but not only: a token's product with itself is the largest."""
    return (Scale("*fn.qkv.weight", 0, 0.4 if small else 0.05),)


def classify(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["image"])}


def complete(model: Any, inputs: Tensors) -> Tensors:
    rows = zip(inputs["image"], inputs["mask"], strict=True)
    return {"patches": torch.cat([_complete(model, image[None], mask[None]) for image, mask in rows])}


def _complete(model: Any, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """They hide the patches that come last when random noise is sorted: here that is the mask."""
    noise = mask + torch.arange(mask.numel()) / 1000
    ratio = (mask.sum() - 0.5) / mask.numel()  # they round the patches that are left down
    drawn, torch.rand = torch.rand, lambda *_, **__: noise
    try:
        latent, _, order = model.forward_encoder(image, float(ratio))
    finally:
        torch.rand = drawn
    return model.forward_decoder(latent, order)


def classifier(variant: str, *, small: bool, **options: Any) -> None:
    size = 32 if small else 224
    write(
        "vision/crate", f"{variant}-small" if small else variant,
        crate.CRATE(image_size=size, **options) if small else getattr(crate, f"CRATE_{variant}")(),
        [{"image": Draw((n, 3, size, size))} for n in (1, 2)], classify, reference="the authors' code", variant=variant, small=small,
        sweep=not small, scales=scales(small),
    )  # fmt: skip


def autoencoder(variant: str, *, small: bool, **options: Any) -> None:
    """Whole ones see a smaller image, so that what they make of it is a small file."""
    size = 32 if small else 64
    make = (
        partial(mae.MaskedAutoencoderViT, mae.CRATEEncoderBlock, mae.CRATEDecoderBlock) if small else getattr(mae, f"mae_crate_{variant}")
    )
    image, mask = Draw((1, 3, size, size)), Draw((1, (size // 16) ** 2), "bool", 0, 2)
    write(
        "vision/crate_mae", f"{variant}-small" if small else variant, make(img_size=size, **options), [{"image": image, "mask": mask}],
        complete, reference="the authors' code", variant=variant, small=small, config={} if small else {"size": size}, sweep=not small,
        scales=scales(small), own=UNREAD[:2], unused=UNREAD,
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    classifier("tiny", small=True, patch_size=16, num_classes=10, dim=48, depth=2, heads=6, dim_head=8)
    norm = partial(torch.nn.LayerNorm, eps=1e-6)
    width = {"embed_dim": 48, "depth": 2, "num_heads": 12, "decoder_embed_dim": 48, "decoder_depth": 2, "decoder_num_heads": 12}
    autoencoder("base", small=True, patch_size=16, norm_layer=norm, **width)
    for variant in SIZES:
        classifier(variant, small=False)
        autoencoder(variant, small=False)
