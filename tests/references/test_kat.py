"""The learned rational: where it starts, its closed form, and as the mlp of a transformer that knows nothing of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from checks import FILES, bundle, onnx_runtime, pytorch
from fill import uniform
from zoo import Case, torch_module

import lamina

SPECS = Path(__file__).parents[2] / "specs"
ACTIVATION = """
lamina: 1
model: activation
use: [functions]
inputs: {x: "float32[N, T, 16]"}
dims: {N: {min: 1, opt: 2, max: 4}, T: {min: 1, opt: 3, max: 64}}
body: [{ACT: {}, name: act}]
outputs: {y: "float32[N, T, 16]"}
"""
STEP = {"float16": 2**-11, "bfloat16": 2**-8}  # the largest relative error of one rounding
STARTS = {
    "rational": (lambda x: x, 0.0),
    "rational_silu": (lambda x: x / (1 + np.exp(-x)), 1e-4),
    "rational_gelu": (lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2, 5e-3),
}


def module_of(act: str, folder: Path) -> torch.nn.Module:
    folder.mkdir(exist_ok=True)
    (folder / "model.yaml").write_text(ACTIVATION.replace("ACT", act), encoding="utf-8")
    return lamina.to_torch(lamina.load(folder / "model.yaml")).eval()


@pytest.mark.parametrize("act", list(STARTS))
def test_starts_as_its_activation_on_what_it_was_fitted_to(act: str, tmp_path: Path) -> None:
    function, bound = STARTS[act]
    x = 3 * uniform("x", (2, 64, 16))
    with torch.inference_mode():
        found = module_of(act, tmp_path)(torch.from_numpy(x)).numpy()
    assert np.abs(found - function(x.astype(np.float64))).max() <= bound


def test_is_one_numerator_over_a_denominator_for_each_group(tmp_path: Path) -> None:
    """As the paper's equation has it, in NumPy and float64."""
    module = module_of("rational", tmp_path)
    a, b = uniform("a", (6,)), uniform("b", (8, 4))
    module.load_state_dict({"act.numerator": torch.from_numpy(a), "act.denominator": torch.from_numpy(b)})
    x = 2 * uniform("x", (2, 5, 16))
    wide, shares = x.astype(np.float64), np.repeat(np.abs(b).astype(np.float64), 2, axis=0)
    want = np.polynomial.polynomial.polyval(wide, a.astype(np.float64)) / (
        1 + sum(shares[:, i] * np.abs(wide) ** (i + 1) for i in range(4))
    )
    with torch.inference_mode():
        np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), want, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("scale", [3, 300])
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_rounds_the_input_and_the_output_alone(precision: str, scale: float, tmp_path: Path) -> None:
    """The fifth power of 300 is beyond float16, and a sum of powers in bfloat16 has no digits left."""
    text = ACTIVATION.replace("{ACT: {}, name: act}", f"cast: {precision}, {{rational_gelu: {{}}, name: act}}, cast: float32")
    (tmp_path / "model.yaml").write_text(text, encoding="utf-8")
    spec = lamina.load(tmp_path / "model.yaml")
    x = torch.from_numpy(scale * uniform("x", (2, 5, 16))).to(getattr(torch, precision)).float()
    with torch.inference_mode():
        found = [lamina.to_torch(spec).eval()(x).numpy()]
        want = module_of("rational_gelu", tmp_path / "wide")(x).numpy()
    if precision == "float16":
        found.append(lamina.Session(lamina.compile(spec, tmp_path / "bundle"))(x=x.numpy())["y"])
    for got in found:
        np.testing.assert_allclose(got, want, rtol=STEP[precision], atol=STEP[precision] * 1e-3)


def test_channels_of_images_are_their_second_dimension(tmp_path: Path) -> None:
    """As one turns the image around to have them last."""
    text = ACTIVATION.replace("[N, T, 16]", "[N, 16, T, 3]").replace("ACT: {}", "rational_silu: {dim: 1}")
    (tmp_path / "model.yaml").write_text(text, encoding="utf-8")
    images, tokens = lamina.to_torch(lamina.load(tmp_path / "model.yaml")).eval(), module_of("rational_silu", tmp_path / "last")
    state = {k: torch.from_numpy(uniform(k, tuple(v.shape))) for k, v in tokens.state_dict().items()}
    images.load_state_dict(state)
    tokens.load_state_dict(state)
    x = torch.from_numpy(3 * uniform("x", (2, 16, 5, 3)))
    with torch.inference_mode():
        want = tokens(x.permute(0, 2, 3, 1).reshape(2, 15, 16)).reshape(2, 5, 3, 16).permute(0, 3, 1, 2)
        torch.testing.assert_close(images(x), want)


@pytest.mark.parametrize(("spec", "use"), [("vision/vit", "image"), ("embedding/minilm", "ffn")])
def test_is_the_mlp_of_any_transformer(spec: str, use: str, tmp_path: Path) -> None:
    """One word of its file changes, and what is compiled computes what the module does."""
    text = (SPECS / f"{spec}.yaml").read_text(encoding="utf-8")
    path = tmp_path / "model.yaml"
    path.write_text(text.replace("{mlp: ", "{rational_mlp: ").replace(f"{use}]", f"{use}, functions]"), encoding="utf-8")
    case = Case(path, None, small=True)
    rationals = [n for n, _ in torch_module(case).named_parameters() if n.endswith("numerator")]
    assert len(rationals) == 2 * 2, rationals  # layers, and rationals in each
    pytorch(case)
    with bundle(case) as folder:
        onnx_runtime(case, folder, [(file, "ORT_ENABLE_ALL") for file in FILES])
