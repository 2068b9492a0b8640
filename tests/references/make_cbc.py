"""Write what the authors' CBCNet and PIPNet compute of features. Run by hand, given a checkout of github.com/si-cim/cbc-aaai-2025:

pip install torch torchvision omegaconf && python tests/references/make_cbc.py --source PATH

`get_network` makes their layers, for a backbone whose last convolution has as many channels. The backbone itself is replaced by the
identity, so that features stand for images; torchvision is imported for it and not used.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import nn

parser = ArgumentParser(description=__doc__)
parser.add_argument("--source", required=True)
source = parser.parse_args().source
sys.path[:0] = [source, f"{source}/deep_cbc"]
from deep_cbc.models import cbcnet, pipnet  # noqa: E402

SMALL, WHOLE = {"channels": 6, "components": 6, "classes": 5}, {"channels": 768, "components": 768, "classes": 200}
UNUSED = ["_classification.reasoning_labels", "*_multiplier", "*.normalization_multiplier"]
SCALES = (Scale("*.reasoning_probabilities", 0, 2), Scale("_classification.weight", 0, 30))  # large, so that a few components decide


def network(head: str, channels: int, components: int, classes: int) -> nn.Module:
    """Theirs, but for the backbone."""
    theirs = cbcnet if head == "cbc_head" else pipnet
    theirs.base_architecture_to_features["convnext"] = lambda pretrained: nn.Conv2d(1, channels, 1)
    made = "rbf_head" if head == "cbc_head" else head  # they make cbc_head on a GPU only
    args = Namespace(net="convnext", disable_pretrained=True, num_features=components % channels, head_type=made, bias=False)
    _, add_on, pool, classification, prototypes = theirs.get_network(classes, args)
    assert prototypes == components
    if head == "cbc_head":
        classification = cbcnet.init_cbc_head(components, classes)
        return cbcnet.CBCNet(classes, components, nn.Identity(), args, add_on, pool, classification)
    return pipnet.PIPNet(classes, components, nn.Identity(), args, add_on, pool, classification)


def brief(model: nn.Module, inputs: Tensors, clip: bool = False) -> Tensors:
    """Without what no input changes."""
    _, detections, scores = model(inputs["features"], inference=clip)
    return {"probabilities": scores, "detections": detections}


def full(model: nn.Module, inputs: Tensors, clip: bool = False) -> Tensors:
    positive, negative = model._classification.effective_reasoning_probabilities
    return {**brief(model, inputs, clip), "positive": positive, "negative": negative}


def clipped(model: nn.Module, inputs: Tensors) -> Tensors:
    return full(model, inputs, clip=True)


def shares(model: nn.Module, inputs: Tensors) -> Tensors:
    """A head without negative reasoning: it is linear, so of each component alone it gives that component's evidence."""
    return {**brief(model, inputs), "positive": model._classification(torch.eye(model._num_prototypes))}


def weighted(model: nn.Module, inputs: Tensors) -> Tensors:
    found = dict(shares(model, inputs))
    return {"scores": found.pop("probabilities"), **found}


def scored(model: nn.Module, inputs: Tensors) -> Tensors:
    found = dict(brief(model, inputs))
    return {"scores": found.pop("probabilities"), **found}


def main() -> None:
    for name, variant, head, sizes, run, extra in (
        ("pip_small", "pip", "cbc_head", SMALL, full, {}),
        ("pip_clipped", "pip", "cbc_head", SMALL, clipped, {"least": 0.1}),
        ("pip_projected_small", "pip_projected", "cbc_head", {**SMALL, "components": 4}, full, {}),
        ("rbfnet_small", "rbfnet", "rbf_head", SMALL, shares, {}),
        ("pipnet_small", "pipnet", "pipnet_head", SMALL, weighted, {}),
        ("pip", "pip", "cbc_head", WHOLE, brief, {}),
        ("pip_cars", "pip_cars", "cbc_head", {**WHOLE, "classes": 196}, brief, {}),
        ("pip_pets", "pip_pets", "cbc_head", {**WHOLE, "classes": 37}, brief, {}),
        ("pip_projected", "pip_projected", "cbc_head", {**WHOLE, "components": 512}, brief, {}),
        ("rbfnet", "rbfnet", "rbf_head", WHOLE, brief, {}),
        ("pipnet", "pipnet", "pipnet_head", WHOLE, scored, {}),
    ):
        tiny = sizes["channels"] == 6
        most = 4 if tiny else 12  # among more channels, larger ones stand out
        points = [{"features": Draw((n, sizes["channels"], h, w), low=-most, high=most)} for n, h, w in ((2, 3, 4), (3, 5, 2))]
        write(
            "memory/cbc", name, network(head, **sizes), points, run,
            reference="the authors' code", variant=variant, small=tiny, config={**sizes, **extra} if tiny else None,
            unused=UNUSED, scales=SCALES,
        )  # fmt: skip


if __name__ == "__main__":
    main()
