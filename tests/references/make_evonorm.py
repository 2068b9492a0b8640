"""What timm's EvoNorm layers compute, in eval mode and in train mode. Run by hand where timm is installed (`pip install timm`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import timm
import torch
from cases import EXPECTED
from fill import Draw, fill
from making import Tensors, write
from timm.layers import evo_norm

CHANNELS = 64
POINTS = [{"image": Draw((2, CHANNELS, 3, 4))}, {"image": Draw((1, CHANNELS, 5, 4), low=-3.0, high=3.0)}]


def run(layer: Any, inputs: Tensors) -> Tensors:
    return {"y": layer(inputs["image"])}


def write_training(variant: str, layer: Any) -> None:
    """One step in train mode: the output, the gradient of its sum of squares, and what the layer keeps."""
    layer.load_state_dict({k: torch.from_numpy(fill(k, tuple(v.shape))) for k, v in layer.state_dict().items()})
    image = torch.from_numpy(POINTS[0]["image"].array("image")).requires_grad_()
    y = layer.train()(image)
    y.square().sum().backward()
    kept = {k: v.numpy() for k, v in layer.named_buffers()}
    np.savez_compressed(EXPECTED / "layer" / "evonorm" / f"{variant}-training.npz", y=y.detach(), gradient=image.grad, **kept)


if __name__ == "__main__":
    for variant in ("b0", "b1", "b2", "s0", "s0a", "s1", "s1a", "s2", "s2a"):
        layer = getattr(evo_norm, f"EvoNorm2d{variant[0].upper()}{variant[1:]}")(CHANNELS)
        write("layer/evonorm", variant, layer, POINTS, run, reference=f"timm {timm.__version__}", variant=variant, small=True)
        write_training(variant, layer)
