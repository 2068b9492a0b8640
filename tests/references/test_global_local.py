"""A classifier, a user's own and the gate between them: against the three networks in PyTorch, an image at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from evidence import Record
from fill import Array, fill, uniform
from safetensors.numpy import save_file
from torch import nn

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import parameter_count

SPEC = Path(__file__).parents[2] / "specs" / "vision" / "global_local.yaml"
PARTS = ("generic", "local", "gate")
IMAGES = uniform("image", (24, 1, 28, 28)) + np.linspace(-0.5, 1, 24, dtype=np.float32)[:, None, None, None]


class Ordered(nn.Sequential):
    """Modules one after another, under names."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


def networks(classes: int = 5) -> nn.ModuleDict:
    def one_layer(filters: int, out: int) -> nn.Module:
        conv, fc = nn.Conv2d(1, filters, 5, stride=4), nn.Linear(4 * filters, out)
        return Ordered(conv=conv, relu=nn.ReLU(), pool=nn.MaxPool2d(3), flat=nn.Flatten(), fc=fc)

    lenet5 = Ordered(
        conv1=nn.Conv2d(1, 6, 5, padding=2), relu1=nn.ReLU(), pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 16, 5), relu2=nn.ReLU(), pool2=nn.MaxPool2d(2), flat=nn.Flatten(),
        fc1=nn.Linear(400, 120), relu3=nn.ReLU(), fc2=nn.Linear(120, 84), relu4=nn.ReLU(), fc3=nn.Linear(84, classes),
    )  # fmt: skip
    return nn.ModuleDict({"generic": lenet5, "local": one_layer(6, classes), "gate": one_layer(8, 2)}).eval()


def checkpoint(lean: float = -2.84) -> dict[str, Array]:
    """Of all three; the gate leans to the generic network, or so far away from it that about half of the images go there."""
    found = {key: fill(key, tuple(value.shape)) for key, value in networks().state_dict().items()}
    found["gate.fc.bias"] = np.array([lean, 0], np.float32)
    return found


def session(part: str, weights: dict[str, Array], folder: Path) -> lamina.Session:
    save_file(weights, folder / "weights.safetensors")
    return lamina.Session(lamina.compile(lamina.load(SPEC, part, small=True), folder / part, weights=folder / "weights.safetensors"))


@pytest.fixture(scope="module")
def reference() -> nn.ModuleDict:
    made = networks()
    made.load_state_dict({key: torch.from_numpy(value) for key, value in checkpoint().items()})
    return made


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_its_network(part: str, reference: nn.ModuleDict, tmp_path: Path, record: Record) -> None:
    with torch.no_grad():
        want = reference[part](torch.from_numpy(IMAGES)).numpy()
    got = session(part, checkpoint(), tmp_path)(image=IMAGES)["decision" if part == "gate" else "logits"]
    worst = float(np.abs(got - want).max() / np.abs(want).max())
    assert worst < 1e-5
    record(SPEC, part, "parity", f"{worst:.0e} of the network in PyTorch, small")


def test_an_image_goes_where_the_gate_says(reference: nn.ModuleDict, tmp_path: Path, record: Record) -> None:
    with torch.no_grad():
        decision, generic, local = (reference[part](torch.from_numpy(IMAGES)).numpy() for part in ("gate", "generic", "local"))
    own = decision[:, 1] > decision[:, 0]
    assert 4 < own.sum() < 20
    want = np.where(own[:, None], local, generic)
    got = session("whole", checkpoint(), tmp_path)(image=IMAGES)["logits"]
    worst = float(np.abs(got - want).max() / np.abs(want).max())
    assert worst < 1e-5
    record(SPEC, "whole", "parity", f"{worst:.0e} of the networks in PyTorch, image by image, small")


def test_what_is_generic_is_left_as_it_was(tmp_path: Path) -> None:
    """To the bit, where the gate sends everything there."""
    whole, alone = (session(part, checkpoint(lean=100.0), tmp_path) for part in ("whole", "generic"))
    np.testing.assert_array_equal(whole(image=IMAGES)["logits"], alone(image=IMAGES)["logits"])


def test_only_what_is_the_users_learns(tmp_path: Path) -> None:
    """With the generic network frozen, the user's learns from the images that go to it, and the gate from its decisions."""
    module = lamina.to_torch(lamina.load(SPEC, small=True)).train()
    for name, weight in module.named_parameters():
        weight.requires_grad_(not name.startswith("generic."))
    found = module(torch.from_numpy(IMAGES))
    (found["logits"].square().sum() + found["decision"].square().sum()).backward()
    learning = {name.split(".")[0] for name, weight in module.named_parameters() if weight.grad is not None}
    assert learning == {"local", "gate"}


def test_the_users_parts_are_a_fortieth() -> None:
    """As the paper says: about 2.5%."""
    sizes = {part: parameter_count(elaborate(lamina.load(SPEC, part)).graph) for part in PARTS}
    assert round(100 * (sizes["local"] + sizes["gate"]) / sizes["generic"], 1) == 2.5
