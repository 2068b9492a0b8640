"""Write what the authors' LMUFormer computes. Run by hand, given a checkout of github.com/zeyuliu1037/LMUFormer:

pip install timm scipy spikingjelly==0.0.0.0.14 && python tests/references/make_lmuformer.py --source PATH

What the networks take from their `utilities`, the activations, stands here: theirs want CUDA. The model of permuted MNIST is in their
notebook: the cells of its two classes are run. Streamed, the convolutions of their networks are padded on one side alone. Their own step
of the spiking form leaves out a norm and the spikes of the memory, so what it gives is taken from the whole sequence, prefix by prefix.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from fill import Draw, Scale
from making import Tensors, write
from scipy.signal import cont2discrete
from spikingjelly.clock_driven.functional import reset_net
from spikingjelly.clock_driven.neuron import MultiStepLIFNode
from spikingjelly.clock_driven.surrogate import Sigmoid
from torch import nn

SPEC, REFERENCE = "sequence/lmuformer", "the authors' code"
BUFFERS = ["*.A", "*.B", "*.H", "*.fft_H"]
SCALES = [Scale("*W_u.weight", 0, 0.5), Scale("*W_u.bias", 1, 0)]  # a signal that is not cut off
FIRING = [
    *SCALES,
    Scale("*bn_u.running_mean", 1, 0),
    Scale("*bn_u.bias", 1.3, 0.2),
    Scale("*bn*.bias", 0.5, 0.5),
    Scale("*bn_m.running_var", 0.004, 0.002),
]  # spikes, of the memory too


def get_act(name: str, **options: Any) -> nn.Module:
    """As in their utilities/util.py, but with gradients wide enough to show what a spike depends on."""
    if name == "spike":
        return MultiStepLIFNode(**options, surrogate_function=Sigmoid(1.0), backend="torch")
    return {"relu": nn.ReLU, "gelu": nn.GELU}[name]()


def run(model: nn.Module, inputs: Tensors, every_step: bool = False) -> Tensors:
    model.test_mode = "normal"
    reset_net(model)
    outputs = {"logits": model(inputs["spectrogram"])}
    if every_step:
        model.test_mode = "all_seq"
        reset_net(model)
        outputs["steps"] = model(inputs["spectrogram"]).transpose(0, 1)
    return outputs


def looking_back(model: nn.Module) -> nn.Module:
    """The model with convolutions of the steps so far."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d) and module.kernel_size == (3,):
            module.padding = (0,)
            module.register_forward_pre_hook(lambda _, inputs: (nn.functional.pad(inputs[0], (2, 0)),))
    return model


def psmnist(source: Path, **sizes: int) -> nn.Module:
    """The first Model of their notebook, for 784 pixels."""
    cells = json.loads((source / "LMUFormer_psMNIST.ipynb").read_text(encoding="utf-8"))["cells"]
    codes = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    scope: dict[str, Any] = {"np": np, "torch": torch, "nn": nn, "fft": torch.fft, "cont2discrete": cont2discrete}
    for start in ("class LMUFFT(", "class Model("):
        exec(next(code for code in codes if code.startswith(start)), scope)
    model: nn.Module = scope["Model"](input_size=1, output_size=10, seq_len=784, theta=784, **sizes)
    return model


def run_psmnist(model: Any, inputs: Tensors, every_step: bool = False) -> Tensors:
    """Its logits, and by its parts those after each step."""
    x = inputs["spectrogram"]
    outputs = {"logits": model(x)}
    if every_step:
        h, _ = model.lmu_fft(model.bn1(model.conv1(x.transpose(1, 2))).transpose(1, 2))
        outputs["steps"] = model.classifier(h.cumsum(1) / torch.arange(1, 785)[:, None])
    return outputs


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    source = Path(parser.parse_args().source) / "src"
    sys.path.insert(0, str(source))
    sys.modules["utilities"] = utilities = ModuleType("utilities")
    utilities.__dict__["get_act"] = get_act
    import lmu_rnn

    common: dict[str, Any] = {"reference": REFERENCE, "own": BUFFERS, "scales": SCALES}
    whole = {"num_classes": 35, "in_channels": 128, "embed_dims": 256, "num_heads": 16, "mlp_ratios": 4, "depths": 1}
    narrow = {**whole, "num_classes": 4, "in_channels": 6, "embed_dims": 16, "depths": 2}
    config = {"bins": 6, "width": 16, "classes": 4, "depth": 2}
    for name, make, more in (
        ("speech_commands", lmu_rnn.lmu_rnn_conv1d, common),
        ("spiking", lmu_rnn.slmu_rnn_ms_conv1d, {**common, "scales": FIRING}),
    ):
        for form, change in (("", nn.Module.eval), ("_recurrent", nn.Module.eval), ("_streaming", looking_back)):
            if (variant := f"{name}{form}") != "spiking_recurrent":
                act = partial(run, every_step=bool(form))
                points = [{"spectrogram": Draw((2, 128, 128))}]
                if name != "spiking":  # one signal among 256 channels moves few spikes
                    write(SPEC, variant, change(make(**whole)), points, act, variant=variant, sweep=True, **more)
                points = [{"spectrogram": Draw((2, 128, 6))}]
                write(SPEC, f"{variant}_narrow", change(make(**narrow)), points, act, variant=variant, config=config, **more)
    points = [{"spectrogram": Draw((2, 784, 1), low=0.0)}]
    for variant, every_step in (("psmnist", False), ("psmnist_recurrent", True)):
        model, act = psmnist(source, hidden_size=346, memory_size=468), partial(run_psmnist, every_step=every_step)
        write(SPEC, variant, model, points, act, variant=variant, sweep=True, **common)
        model, config = psmnist(source, hidden_size=16, memory_size=12), {"width": 16, "order": 12}
        write(SPEC, f"{variant}_narrow", model, points, act, variant=variant, config=config, **common)
