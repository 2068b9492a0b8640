"""The polynomial activations in half precision, against the authors' formula in float64, and wherever an activation can stand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fill import Array, fill, uniform
from safetensors.torch import save_file

import lamina
from lamina.compiler.targets.torch import LaminaModule

SPEC = Path(__file__).parents[2] / "specs" / "layer" / "polycom.yaml"
DIM, HIDDEN = 8, 24
MODEL = """
lamina: 1
model: feed_forward
use: [ffn, functions]
inputs: {x: "float32[N, T, 8]"}
dims: {N: {min: 1, opt: 2, max: 4}, T: {min: 1, opt: 3, max: 8}}
body:
  - mlp: {hidden: 16, act: ACT}
outputs: {y: "float32[N, T, 8]"}
"""
STEP = {"float16": 2**-11, "bfloat16": 2**-8}  # the largest relative error of one rounding


def norm(x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def activation(variant: str, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The paper's equations, in x's dtype."""
    if variant == "poly_norm":
        return w[0] * norm(x**3) + w[1] * norm(x**2) + w[2] * norm(x) + b
    x = x.relu()
    return w[0] * x**3 + w[1] * x**2 + w[2] * x + b


def filled(module: LaminaModule) -> dict[str, torch.Tensor]:
    """The module's weights, from their names, in their own dtypes."""
    state = {k: torch.from_numpy(fill(k, tuple(v.shape))).to(v.dtype) for k, v in module.state_dict().items()}
    module.load_state_dict(state)
    return state


def reference(variant: str, x: Array, state: dict[str, torch.Tensor]) -> torch.Tensor:
    wide = {k: v.double() for k, v in state.items()}
    hidden = torch.from_numpy(x).double() @ wide["dense_h_to_4h.weight"].T
    return activation(variant, hidden, wide["activation_func.weight"], wide["activation_func.bias"]) @ wide["dense_4h_to_h.weight"].T


def errors(variant: str, precision: str, scale: float, tmp_path: Path) -> list[float]:
    """How far PyTorch, and ONNX Runtime where it has the dtype, are from float64, by the largest magnitude."""
    spec = lamina.load(SPEC, variant, small=True, precision=precision)
    module = lamina.to_torch(spec).eval()
    state = filled(module)
    x = (scale * uniform("x", (2, 5, DIM))).astype(np.float32)
    want = reference(variant, x, state).numpy()
    with torch.inference_mode():
        found = [module(torch.from_numpy(x)).numpy()]
    if precision == "float16":
        save_file(state, tmp_path / "weights.safetensors")
        found += [lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))(x=x)["y"]]
    return [float(np.abs(got - want).max() / np.abs(want).max()) for got in found]


@pytest.mark.parametrize("precision", list(STEP))
@pytest.mark.parametrize("variant", ["poly_norm", "poly_relu"])
def test_half_precision_is_within_eight_roundings(variant: str, precision: str, tmp_path: Path) -> None:
    """Inputs, hidden values, activations and outputs are rounded, of which a cube makes three; powers and means are not."""
    assert max(errors(variant, precision, 3, tmp_path)) <= 8 * STEP[precision]


def test_a_cube_that_float16_cannot_hold(tmp_path: Path) -> None:
    """Hidden values of hundreds: the formula has no finite answer in float16, and ours is as near as with small ones."""
    hidden = torch.linspace(-300, 300, HIDDEN).half()
    assert not activation("poly_norm", hidden, torch.ones(3).half() / 3, torch.zeros(1).half()).isfinite().all()
    assert max(errors("poly_norm", "float16", 300, tmp_path)) <= 8 * STEP["float16"]


@pytest.mark.parametrize("act", ["poly_norm", "poly_relu", "rational", "rational_silu"])
def test_stands_for_an_activation(act: str, tmp_path: Path) -> None:
    """As the `act` of the zoo's mlp, which knows nothing of it."""
    (tmp_path / "model.yaml").write_text(MODEL.replace("ACT", act), encoding="utf-8")
    module = lamina.to_torch(lamina.load(tmp_path / "model.yaml"))
    own = {name for name, _ in module.named_parameters() if not name.startswith("mlp.fc")}
    assert own
    assert all(name.startswith("mlp.act.") for name in own)
    session = lamina.Session(lamina.compile(lamina.load(tmp_path / "model.yaml"), tmp_path / "bundle"))
    x = uniform("x", (2, 3, 8))
    with torch.inference_mode():
        want = module.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(session(x=x)["y"], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("act", ["poly_norm", "rational"])
def test_stands_for_an_activation_of_images(act: str, tmp_path: Path) -> None:
    """In the zoo's convolution with a norm, at any size: the channels are told to it, and are its statistics' and its groups'."""
    text = MODEL.replace("[N, T, 8]", "[N, 8, T, W]").replace("T: {", "W: {min: 1, opt: 3, max: 8}, T: {").replace("ffn", "conv")
    text = text.replace("mlp: {hidden: 16, act: ACT}", f"conv_norm_act: {{out: 8, kernel: 1, norm: identity, act: {act}(dim=1)}}")
    (tmp_path / "model.yaml").write_text(text, encoding="utf-8")
    module = lamina.to_torch(lamina.load(tmp_path / "model.yaml")).eval()
    state = filled(module)
    save_file(state, tmp_path / "weights.safetensors")
    session = lamina.Session(
        lamina.compile(lamina.load(tmp_path / "model.yaml"), tmp_path / "bundle", weights=tmp_path / "weights.safetensors")
    )
    for rows, columns in ((3, 4), (1, 7)):
        x = uniform("x", (2, 8, rows, columns))
        wide = {k.removeprefix("conv_norm_act.").removeprefix("act."): v.double() for k, v in state.items()}
        y = torch.einsum("nchw,oc->nhwo", torch.from_numpy(x).double(), wide["conv.weight"][:, :, 0, 0])
        if act == "poly_norm":
            want = activation(act, y, wide["weight"], wide["bias"])
        else:  # as many groups as channels
            above = sum(wide["numerator"][i] * y**i for i in range(6))
            want = above / (1 + sum(wide["denominator"][:, i].abs() * y.abs() ** (i + 1) for i in range(4)))
        want = want.permute(0, 3, 1, 2).numpy()
        with torch.inference_mode():
            np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(session(x=x)["y"], want, rtol=1e-5, atol=1e-5)
