"""The authors' CRATE, CRATE-MAE and CRATE-GPT. Needs timm and einops, and `--source`, a checkout of github.com/Ma-Lab-Berkeley/CRATE.

Into it put `model/crate_gpt.py` of commit f33d737, which is on none of its branches.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from authors import imported
from fill import Draw, Scale
from making import Tensors, write

crate = imported("model.crate", __doc__)
mae = imported("model.crate_ae.crate_ae", __doc__)
gpt = imported("model.crate_gpt", __doc__)
SIZES = ("tiny", "small", "base", "large")
UNREAD = ("pos_embed", "decoder_pos_embed", "decoder_embed.*")


def scales(small: bool, key: str = "*fn.qkv.weight") -> tuple[Scale, ...]:
    """So that tokens attend to themselves, but not only: a token's product with itself is the largest."""
    return (Scale(key, 0, 0.4 if small else 0.05),)


def classify(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["image"])}


def complete(model: Any, inputs: Tensors) -> Tensors:
    rows = zip(inputs["image"], inputs["mask"], strict=True)
    return {"patches": torch.cat([_complete(model, image[None], mask[None]) for image, mask in rows])}


def continue_(model: Any, inputs: Tensors) -> Tensors:
    """With targets, whatever they are, it gives the logits of every place."""
    return {"logits": model(inputs["tokens"], inputs["tokens"])[0]}


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
    """They see small images, so that what they make of them is a small file; the authors' are built for one size."""
    size = 32 if small else 64
    make = (
        partial(mae.MaskedAutoencoderViT, mae.CRATEEncoderBlock, mae.CRATEDecoderBlock) if small else getattr(mae, f"mae_crate_{variant}")
    )
    points = [{"image": Draw((n, 3, size, size)), "mask": Draw((n, (size // 16) ** 2), "bool", 0, 2)} for n in (1, 2)]
    write(
        "vision/crate_mae", f"{variant}-small" if small else variant, make(img_size=size, **options), points,
        complete, reference="the authors' code", variant=variant, small=small, sweep=not small,
        scales=scales(small), own=UNREAD[:2], unused=UNREAD,
    )  # fmt: skip


def language(variant: str, *, small: bool, **options: Any) -> None:
    """A whole one with fewer words than it has, of which it then gives a small file."""
    model = gpt.CRATE(gpt.CRATEConfig(**options))
    points = [{"tokens": Draw((n, t), "int64", 0, options["vocab_size"])} for n, t in ((1, 12), (2, 5))]
    write(
        "sequence/crate_gpt", f"{variant}-small" if small else variant, model, points, continue_, reference="the authors' code",
        variant=variant, small=small,
        config={} if small else {"vocabulary": options["vocab_size"]}, sweep=not small, scales=scales(small, "*.c_attn.weight"),
        own=["transformer.wte.weight", "*.attn.bias"],
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
    for variant in ("base", "medium", "large", "xl"):
        language(variant, small=True, vocab_size=50, block_size=16, n_embd=48, n_layer=2, n_head=6)
    language("base", small=False, vocab_size=2000, block_size=1024)
