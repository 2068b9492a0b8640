"""Swin where windows do not fit, which timm pads in another order: against transformers, whose checkpoints have keys of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers
from fill import fill, image

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "vision" / "swin.yaml"


def test_padded_windows(tmp_path: Path) -> None:
    """Windows of 7 on 64, 32, 16 and 8 pixels to a side, and on more."""
    config = transformers.SwinConfig(
        embed_dim=8, depths=[2, 1, 2, 2], num_heads=[1, 2, 2, 4], window_size=7, image_size=256, num_labels=10
    )  # fmt: skip
    model = transformers.SwinForImageClassification(config).eval()
    model.load_state_dict({k: v if "index" in k else torch.from_numpy(fill(k, tuple(v.shape))) for k, v in model.state_dict().items()})
    model.save_pretrained(tmp_path / "theirs")
    ours = lamina.load(SPEC, dim=8, depths=[2, 1, 2, 2], heads=[1, 2, 2, 4], size=256, multiple=32, classes=10)
    session = lamina.Session(lamina.compile(ours, tmp_path / "bundle", weights=tmp_path / "theirs"))
    for shape in ((1, 3, 256, 256), (2, 3, 288, 352)):
        pixels = image(shape)
        with torch.no_grad():
            expected = model(torch.from_numpy(pixels)).logits.numpy()
        assert np.abs(session(image=pixels)["logits"] - expected).max() <= 1e-5 * np.abs(expected).max()
