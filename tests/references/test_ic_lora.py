"""In-Context LoRA: no operator more than its base, and panels that are given stay what they are while others are sampled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from fill import uniform
from safetensors.numpy import save_file

import lamina
from lamina.runtime import Session

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "ic_lora.yaml"
BASE = SPEC.parents[1] / "generative" / "flux.yaml"


def test_a_compiled_graph_has_no_more_operators_than_its_base(tmp_path: Path) -> None:
    found = []
    for path in (SPEC, BASE):
        bundle = lamina.compile(lamina.load(path, variant="dev", small=True), tmp_path / path.stem, ["onnx", "onnxruntime"])
        graphs = [onnx.load(bundle / file, load_external_data=False).graph for file in ("model.onnx", "model.ort.onnx")]
        found.append([sorted(node.op_type for node in graph.node) for graph in graphs])
    assert found[0] == found[1]


def test_every_linear_of_every_block_is_adapted() -> None:
    """14 of each block with weights for text and image, 6 of the others: 494 at full size, with a rank of 16."""
    weights = lamina.to_torch(lamina.load(SPEC, variant="dev", small=True)).state_dict()
    assert sum(".lora.a." in name for name in weights) == 2 * 14 + 2 * 6
    linears = {name.removesuffix(".weight") for name, w in weights.items() if w.ndim == 2 and "adapter" not in name and "_blocks." in name}
    assert {name.split(".adapter.")[0] for name in weights if ".adapter." in name} == linears
    assert 19 * 14 + 38 * 6 == 494


def test_given_panels_stay_what_they_are(tmp_path: Path) -> None:
    """Two panels side by side, the left one given: Euler's steps from noise end at it, and the right one depends on it."""
    spec = lamina.load(SPEC, variant="dev-inpaint", small=True)
    weights = {k: 0.3 * uniform(k, tuple(v.shape)) for k, v in lamina.to_torch(spec).state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")
    session = Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))
    given, noise = (uniform(name, (1, 2, 4, 8)) for name in ("given", "noise"))
    free = np.zeros((1, 1, 4, 8), np.float32)
    free[..., 4:] = 1

    def sampled(given: np.ndarray) -> np.ndarray:
        latent, steps = noise, 4
        for step in range(steps):
            common = {"text": uniform("text", (1, 3, 12)), "pooled": uniform("pooled", (1, 10)), "guidance": np.float32([3.5])}
            time = np.float32([1 - step / steps])
            latent = latent - session(latent=latent, time=time, given=given, noise=noise, free=free, **common)["velocity"] / steps
        return latent

    first, other = sampled(given), sampled(given + 1)
    np.testing.assert_allclose(first[..., :4], given[..., :4], atol=1e-5)
    np.testing.assert_allclose(other[..., :4], given[..., :4] + 1, atol=1e-5)
    assert np.abs(first[..., 4:] - other[..., 4:]).max() > 1e-3
