"""Write what the authors' LMUFormer computes. Run by hand, given a checkout of github.com/zeyuliu1037/LMUFormer:

pip install timm scipy && python tests/references/make_lmuformer.py --source PATH

Their `utilities` need spikingjelly for the spiking form alone; what this form takes from there, two activations, stands here.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from types import ModuleType
from typing import Any

from fill import Draw, Scale
from making import Tensors, write
from torch import nn

SPEC, REFERENCE = "sequence/lmuformer", "the authors' code"
BUFFERS = ["*.lmu.A", "*.lmu.B", "*.lmu.H", "*.lmu.fft_H"]
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source + "/src")
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
