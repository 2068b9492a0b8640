"""The authors' iFormer. Needs timm, and `--source`, a checkout of github.com/sail-sg/iFormer."""

from __future__ import annotations

from typing import Any

import torch
from authors import imported
from fill import Draw
from making import Tensors, write

theirs = imported("models.inception_transformer", __doc__)


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["image"])}


def case(variant: str, model: torch.nn.Module, sizes: list[int], *, small: bool) -> None:
    """Square images, which are all that their code takes."""
    write(
        "vision/iformer", f"{variant}-small" if small else variant, model, [{"image": Draw((n, 3, s, s))} for n, s in enumerate(sizes, 1)],
        run, reference="the authors' code", variant=variant, small=small, sweep=not small, macs_at={"N": 1, "H": sizes[0], "W": sizes[0]},
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    tiny = theirs.InceptionTransformer(
        img_size=64, embed_dims=[8, 16, 24, 32], depths=[1, 1, 2, 1], num_heads=[2, 4, 6, 8], attention_heads=[1, 2, 3, 4, 6],
        use_layer_scale=True, num_classes=10,
    )  # fmt: skip
    case("small", tiny, [64, 96, 32, 48], small=True)
    for variant in ("small", "base", "large"):
        case(variant, getattr(theirs, f"iformer_{variant}")(), [224, 160], small=False)
        case(f"{variant}_384", getattr(theirs, f"iformer_{variant}_384")(), [384], small=False)
