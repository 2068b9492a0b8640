"""Write what the authors' AFFNet computes. Run by hand, from a clone of github.com/microsoft/TokenMixers:

pip install torch einops requests tqdm && python tests/references/make_affnet.py --source "TokenMixers/Adaptive Frequency Filters"

Options that the repository's published configurations set are given here: swish, batch norm; the norm around filters is the block's own
default, layer norm over channels and places.
"""

from __future__ import annotations

import argparse
import sys

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import nn

# The filters start at 0.02 in the authors' code; here large enough that a wrong weight shows.
SCALES = [Scale("*.filter.w?", 0, 0.12), Scale("*.filter.b?", 0, 0.2)]


def network(mode: str, classes: int = 1000) -> nn.Module:
    from affnet.models.classification.affnet import AffNet

    options = argparse.Namespace()
    settings = {"activation.name": "swish", "normalization.name": "batch_norm"}
    settings |= {"classification.n_classes": classes, "classification.affnet.mode": mode}
    for key, value in settings.items():
        setattr(options, f"model.{key}", value)
    model: nn.Module = AffNet(options)
    return model


def run(model: nn.Module, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["image"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    torch.manual_seed(0)
    common = {"run": run, "reference": "the authors' code", "scales": SCALES}
    points = [{"image": Draw((2, 3, 64, 96))}, {"image": Draw((1, 3, 71, 93))}]
    write("vision/affnet", "et_ten", network("xx_small", 10), points, variant="et", config={"classes": 10}, **common)
    at = {"H": 256, "W": 256}
    for variant, mode in {"base": "small", "t": "x_small", "et": "xx_small"}.items():
        points = [{"image": Draw((1, 3, 256, 256))}, {"image": Draw((2, 3, 128, 224))}]
        write("vision/affnet", variant, network(mode), points, variant=variant, sweep=True, macs_at=at, **common)
