"""What the authors' code does not do: images that are no squares. The learnt positions are stretched over them, height and width apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fill import uniform
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "vision" / "iformer.yaml"


def test_an_image_and_its_transpose(tmp_path: Path) -> None:
    """A network whose kernels and positions are transposed sees a transposed image as the first one sees the image."""
    spec = lamina.load(SPEC, small=True).model_copy(update={"weights": None})
    weights = {p.name: uniform(p.name, p.shape) for p in elaborate(spec).graph.parameters()}
    weights |= {k: 1 + w / 2 for k, w in weights.items() if k.endswith("running_var")}
    turned = {k: _turned(k, w) for k, w in weights.items()}
    sessions = []
    for name, values in {"one": weights, "other": turned}.items():
        save_file({k: np.ascontiguousarray(v) for k, v in values.items()}, tmp_path / f"{name}.safetensors")
        sessions.append(lamina.Session(lamina.compile(spec, tmp_path / name, weights=tmp_path / f"{name}.safetensors")))
    for height, width in ((64, 64), (32, 96), (128, 64)):
        image = uniform("image", (1, 3, height, width))
        one = sessions[0](image=image)["logits"]
        other = sessions[1](image=np.ascontiguousarray(image.swapaxes(2, 3)))["logits"]
        assert np.abs(one - other).max() <= 1e-5 * np.abs(one).max()
        if height != width:
            assert np.abs(sessions[0](image=np.ascontiguousarray(image.swapaxes(2, 3)))["logits"] - one).max() > 0.01


def _turned(name: str, weight: np.ndarray) -> np.ndarray:
    if name.endswith("position"):
        return weight.swapaxes(1, 2)
    return weight.swapaxes(2, 3) if weight.ndim == 4 else weight
