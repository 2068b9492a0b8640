"""The authors' classification by components. Needs torch, and `--source`, a checkout of github.com/si-cim/cbc-aaai-2025."""

from __future__ import annotations

import sys
from argparse import ArgumentParser

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import nn

parser = ArgumentParser(description=__doc__)
parser.add_argument("--source", required=True)
sys.path.insert(0, f"{parser.parse_args().source}/deep_cbc/models")
from cbc import SlimClassificationByComponents  # noqa: E402


class Net(nn.Module):
    """Their CBCNet without its backbone: add-on layers, pooling, head."""

    def __init__(self, channels: int, components: int, classes: int, least: float) -> None:
        super().__init__()
        project = [nn.Conv2d(channels, components, 1)] if channels != components else []
        self._add_on, self.least = nn.Sequential(*project, nn.Softmax(dim=1)), least
        self._pool = nn.Sequential(nn.AdaptiveMaxPool2d((1, 1)), nn.Flatten())
        self._classification = SlimClassificationByComponents(
            reasoning_labels=torch.eye(classes), init_reasoning_probabilities=torch.zeros(2 * components, classes)
        )

    def forward(self, features: torch.Tensor) -> Tensors:
        found = self._pool(self._add_on(features))
        found = torch.where(found < self.least, 0.0, found)
        probabilities, _ = self._classification(found)
        positive, negative = self._classification.effective_reasoning_probabilities
        return {"probabilities": probabilities, "detections": found, "positive": positive, "negative": negative}


def run(model: Net, inputs: Tensors) -> Tensors:
    return model(**inputs)


def brief(model: Net, inputs: Tensors) -> Tensors:
    """Without what no input changes."""
    return {k: v for k, v in run(model, inputs).items() if k in ("probabilities", "detections")}


def main() -> None:
    never = ["_classification.reasoning_labels", "_classification.normalization_multiplier"]
    small, whole = {"channels": 6, "components": 6, "classes": 5}, {"channels": 768, "components": 768, "classes": 200}
    for name, variant, config, least in (
        ("pip_small", "pip", small, 0.0),
        ("pip_clipped", "pip", {**small, "least": 0.1}, 0.1),
        ("pip_projected_small", "pip_projected", {**small, "components": 4}, 0.0),
        ("pip", "pip", whole, 0.0),
        ("pip_projected", "pip_projected", {**whole, "components": 512}, 0.0),
    ):
        model = Net(config["channels"], config["components"], config["classes"], least)
        most = 4 if config["channels"] == 6 else 12  # among more channels, larger ones stand out
        points = [{"features": Draw((n, config["channels"], h, w), low=-most, high=most)} for n, h, w in ((2, 3, 4), (3, 5, 2))]
        tiny = config["channels"] == 6
        write(
            "memory/cbc", name, model, points, run if tiny else brief,
            reference="the authors' code", variant=variant, small=tiny, config=config if tiny else None,
            own=never, unused=never, scales=(Scale("*.reasoning_probabilities", 0, 2),),
        )  # fmt: skip


if __name__ == "__main__":
    main()
