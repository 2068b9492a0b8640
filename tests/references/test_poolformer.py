"""PoolFormer with its last norm before the mean, against transformers; timm has it after (make_timm.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from fill import fill, image
from safetensors.numpy import save_file

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "vision" / "poolformer.yaml"


@pytest.fixture(scope="module")
def reference() -> Any:
    """transformers' S12, every entry of its checkpoint filled."""
    torch.set_num_threads(2)
    model = transformers.PoolFormerForImageClassification(transformers.PoolFormerConfig(num_labels=1000)).eval()
    model.load_state_dict({key: torch.from_numpy(fill(key, tuple(value.shape))) for key, value in model.state_dict().items()})
    return model


def test_transformers(reference: Any, tmp_path: Path) -> None:
    save_file({key: value.numpy() for key, value in reference.state_dict().items()}, tmp_path / "weights.safetensors")
    spec = lamina.load(SPEC, variant="s12", norm_first=True)
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))
    for shape in ((1, 3, 224, 224), (2, 3, 96, 160)):
        pixels = image(shape)
        with torch.no_grad():
            expected = reference(torch.from_numpy(pixels)).logits.numpy()
        logits = session(image=pixels)["logits"]
        assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
