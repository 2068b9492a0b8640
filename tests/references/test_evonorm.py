"""EvoNorm in training, against timm (make_evonorm.py), in half precision, and in networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cases import EXPECTED
from fill import Draw, fill
from safetensors.numpy import save_file
from zoo import Lively, assert_agree

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.lower import lower
from lamina.compiler.passes.decompose import decompose
from lamina.compiler.targets.torch import LaminaModule, run_values, to_module

SPECS = Path(__file__).parents[2] / "specs"
SPEC = SPECS / "layer" / "evonorm.yaml"
VARIANTS = ("b0", "b1", "b2", "s0", "s0a", "s1", "s1a", "s2", "s2a")
NETWORKS = {"resnet": 32, "resnet_rs": 64, "vovnet": 64, "inception_v4": 75, "inception_resnet_v2": 75}


def filled(variant: str) -> LaminaModule:
    module = to_module(lower(elaborate(lamina.load(SPEC, variant=variant, small=True)).graph, "torch"))
    state = {key: fill(key.rsplit(".", 1)[-1], tuple(value.shape)) for key, value in module.state_dict().items()}
    module.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()}, assign=True)
    return module


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_of_training(variant: str) -> None:
    module = filled(variant).train()
    image = torch.from_numpy(Draw((2, 64, 3, 4)).array("image")).requires_grad_()
    y = module(image)
    y.square().sum().backward()
    got = {"y": y.detach(), "gradient": image.grad, "running_var": module.state_dict().get("layer.running_var")}
    with np.load(EXPECTED / "layer" / "evonorm" / f"{variant}-training.npz") as want:
        assert set(want) == {"y", "gradient"} | ({"running_var"} if variant.startswith("b") else set())
        for name in want:
            torch.testing.assert_close(got[name], torch.from_numpy(want[name]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision(variant: str, dtype: torch.dtype, bound: float) -> None:
    """Of what float32 gives for the same rounded image, at most a few of the format's steps away."""
    image = torch.from_numpy(Draw((2, 64, 9, 7), low=-4.0, high=8.0).array("image")).to(dtype)
    with torch.inference_mode():
        half, full = filled(variant).eval().to(dtype)(image), filled(variant).eval()(image.float())
    assert half.dtype == dtype
    assert (half.float() - full).abs().max() <= bound * full.abs().max()


@pytest.mark.parametrize("norm", ["evonorm_b0", "evonorm_b1", "evonorm_s0(groups=1)", "evonorm_s2(groups=1)"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_takes_it_for_its_norms_and_activations(network: str, norm: str, tmp_path: Path) -> None:
    """And computes what its definition says in float64."""
    size = NETWORKS[network]
    plain = {"plain_norm": "affine"} if network.startswith("resnet") else {}  # the others activate after every norm
    spec = lamina.load(SPECS / "vision" / f"{network}.yaml", small=True, norm=norm, act="identity", **plain)
    spec = spec.model_copy(update={"weights": None})
    graph = elaborate(spec).graph
    assert "BatchNorm" not in {type(node.op).__name__ for node in graph.nodes}
    save_file({p.name: np.ascontiguousarray(Lively().get(p).numpy()) for p in graph.parameters()}, tmp_path / "lively.safetensors")
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "lively.safetensors"))
    feeds = {"image": Draw((2, 3, size, size + 32)).array("image")}
    names = [value.name for value in graph.outputs]
    assert_agree(session(**feeds), run_values(decompose(graph, "definition"), Lively(), feeds, names, wide=True), f"{network}, {norm}")
