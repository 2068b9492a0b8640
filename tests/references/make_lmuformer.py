"""Write what the authors' LMUFormer computes. Run by hand, given a checkout of github.com/zeyuliu1037/LMUFormer:

pip install timm scipy && python tests/references/make_lmuformer.py --source PATH

Their `utilities` need spikingjelly for the spiking form alone; what this form takes from there, two activations, stands here. The model
of permuted MNIST is in their notebook: the cells of its two classes are run.
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
from torch import nn

SPEC, REFERENCE = "sequence/lmuformer", "the authors' code"
BUFFERS = ["*.A", "*.B", "*.H", "*.fft_H"]
SCALES = [Scale("*W_u.weight", 0, 0.5), Scale("*W_u.bias", 1, 0)]  # a signal that is not cut off


def get_act(name: str, **_: Any) -> nn.Module:
    """As in their utilities/util.py."""
    return {"relu": nn.ReLU, "gelu": nn.GELU}[name]()


def run(model: nn.Module, inputs: Tensors, every_step: bool = False) -> Tensors:
    model.test_mode = "normal"
    outputs = {"logits": model(inputs["spectrogram"])}
    if every_step:
        model.test_mode = "all_seq"
        outputs["steps"] = model(inputs["spectrogram"]).transpose(0, 1)
    return outputs


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
    points = [{"spectrogram": Draw((2, 128, 128))}]
    for variant, every_step in (("speech_commands", False), ("speech_commands_recurrent", True)):
        act = partial(run, every_step=every_step)
        write(SPEC, variant, lmu_rnn.lmu_rnn_conv1d(**whole), points, act, variant=variant, sweep=True, **common)
    narrow = {**whole, "num_classes": 4, "in_channels": 6, "embed_dims": 16, "depths": 2}
    config = {"bins": 6, "width": 16, "classes": 4, "depth": 2}
    points = [{"spectrogram": Draw((2, 128, 6))}]
    for variant, every_step in (("speech_commands", False), ("speech_commands_recurrent", True)):
        act = partial(run, every_step=every_step)
        write(SPEC, f"{variant}_narrow", lmu_rnn.lmu_rnn_conv1d(**narrow), points, act, variant=variant, config=config, **common)
    points = [{"spectrogram": Draw((2, 784, 1), low=0.0)}]
    for variant, every_step in (("psmnist", False), ("psmnist_recurrent", True)):
        model, act = psmnist(source, hidden_size=346, memory_size=468), partial(run_psmnist, every_step=every_step)
        write(SPEC, variant, model, points, act, variant=variant, sweep=True, **common)
        model, config = psmnist(source, hidden_size=16, memory_size=12), {"width": 16, "order": 12}
        write(SPEC, f"{variant}_narrow", model, points, act, variant=variant, config=config, **common)
