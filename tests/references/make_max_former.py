"""Write what the authors' Max-Former computes. Run by hand, given a checkout of github.com/bic-L/MaxFormer:

pip install timm spikingjelly==0.0.0.0.14 && python tests/references/make_max_former.py --source PATH/imagenet

Their neurons ask for CUDA: they get PyTorch's form of the same, with gradients wide enough to show what a spike depends on.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import timm.models
import torch
from authors import imported
from fill import Draw, Scale
from making import Tensors, write
from spikingjelly.clock_driven import neuron
from spikingjelly.clock_driven.functional import reset_net
from spikingjelly.clock_driven.surrogate import Sigmoid
from torch import nn

SPEC, REFERENCE = "vision/max_former", "the authors' code"
SCALES = [Scale("patch_embed*_bn.weight", 3, 1), Scale("*_bn.weight", 1.5, 0.25), Scale("*_bn.bias", 0.5, 0.5)]  # neurons that fire
LIF = neuron.MultiStepLIFNode


def plain(backend: str, **options: Any) -> nn.Module:
    """The neuron in PyTorch."""
    return LIF(**options, surrogate_function=Sigmoid(1.0), backend="torch")


def run(model: nn.Module, inputs: Tensors) -> Tensors:
    reset_net(model)
    logits: torch.Tensor = model(inputs["image"])
    return {"logits": logits}


if __name__ == "__main__":
    neuron.MultiStepLIFNode = plain
    sys.modules.setdefault("timm.models.registry", timm.models)
    Model = partial(imported("max_former", __doc__).Max_Former, in_channels=3)
    for steps, variant in ((4, "10_384"), (4, "10_768"), (1, "10_384_one_step")):
        model = Model(num_classes=10, embed_dims=128, T=steps)
        points = [{"image": Draw((2, 3, 64, 48))}]
        config = {"dim": 128, "classes": 10}
        write(SPEC, variant, model, points, run, reference=REFERENCE, variant=variant, config=config, scales=SCALES)
