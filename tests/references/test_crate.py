"""CRATE's layers as what they are derived from: a proximal step, causal attention, and a decoder that cannot see behind the mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fill import uniform
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPECS = Path(__file__).parents[2] / "specs" / "vision"
LAYER = """
lamina: 1
model: layer
use: [rate_reduction]
inputs: {x: "float32[N, T, 12]"}
dims: {N: {min: 1, opt: 2, max: 4}, T: {min: 1, opt: 5, max: 16}}
body: [STEP]
outputs: {y: "float32[N, T, 12]"}
"""


def layer(folder: Path, step: str) -> tuple[lamina.Session, dict[str, np.ndarray]]:
    """A session of one layer, and its weights."""
    (folder / "layer.yaml").write_text(LAYER.replace("STEP", step))
    spec = lamina.load(folder / "layer.yaml")
    weights = {p.name: uniform(p.name, p.shape) for p in elaborate(spec).graph.parameters()}
    save_file(weights, folder / "layer.safetensors")
    return lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "layer.safetensors")), weights


def test_a_sparse_step_is_a_proximal_gradient_step(tmp_path: Path) -> None:
    """Of |y - D z|^2 / 2 + penalty |z|_1 over z >= 0, from z = y: a gradient step, then what the penalty leaves of each coordinate."""
    session, weights = layer(tmp_path, "{sparse_step: {step: 0.1, penalty: 0.4}}")
    (d,) = weights.values()
    for shape in ((1, 1, 12), (2, 5, 12), (4, 16, 12)):
        y = uniform("x", shape).astype(np.float64)
        gradient = (y @ d.T - y) @ d
        want = np.maximum(y - 0.1 * gradient - 0.1 * 0.4, 0)
        np.testing.assert_allclose(session(x=y.astype(np.float32))["y"], want, rtol=1e-5, atol=1e-6)


def test_the_causal_form_sees_no_later_token(tmp_path: Path) -> None:
    session, _ = layer(tmp_path, "{subspace_attention: {heads: 3, causal: true}}")
    x = uniform("x", (2, 8, 12))
    changed = x.copy()
    changed[:, 5:] = uniform("later", (2, 3, 12))
    one, other = session(x=x)["y"], session(x=changed)["y"]
    np.testing.assert_array_equal(one[:, :5], other[:, :5])
    assert np.abs(one[:, 5:] - other[:, 5:]).max() > 0.01


def test_the_autoencoder_does_not_see_masked_patches(tmp_path: Path) -> None:
    session = lamina.Session(lamina.compile(lamina.load(SPECS / "crate_mae.yaml", small=True), tmp_path / "bundle"))
    image = uniform("image", (1, 3, 32, 32))
    masked, seen = image.copy(), image.copy()
    masked[:, :, 16:, :16] += 1
    seen[:, :, :16, 16:] += uniform("noise", (1, 3, 16, 16))
    mask = np.array([[False, False, True, False]])  # the patch below the first
    first = session(image=image, mask=mask)["patches"]
    np.testing.assert_array_equal(session(image=masked, mask=mask)["patches"], first)
    assert np.abs(session(image=seen, mask=mask)["patches"] - first).max() > 1e-3
