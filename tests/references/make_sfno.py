"""Write what the authors' SFNO computes. Run by hand, from a clone of github.com/scaomath/torch-cfd:

pip install torch einops && python tests/references/make_sfno.py --source torch-cfd

The positions' time and the step counts are the code's own. One set of weights gives several numbers of output steps.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from fill import Draw, Scale
from making import Tensors, write
from torch import nn


def scales(width: int) -> list[Scale]:
    """Weights of the spectrum that keep a signal's size, between real and imaginary parts and over all channels."""
    return [Scale("*conv.weight.?", 0, width**-0.5), Scale("*sconv.weight.?", 0, width**-0.5), Scale("*.bias.?", 0, 100)]


def network(modes: list[int], width: int, **settings: Any) -> nn.Module:
    from fno.sfno import SFNO

    model: nn.Module = SFNO(*modes, width, **settings)
    return model


def last(modes: list[int]) -> nn.Module:
    """The layer that the authors' fine-tuning puts in the place of the last, for more modes."""
    from fno.sfno import SpectralConvT

    layer: nn.Module = SpectralConvT(1, 1, *modes, bias=True, delta=0.1, temporal_padding=True)
    return layer


def run(model: nn.Module, inputs: Tensors) -> Tensors:
    return {"prediction": model(inputs["vorticity"])}


def points(*shapes: tuple[int, ...]) -> list[dict[str, Draw]]:
    return [{"vorticity": Draw(shape)} for shape in shapes]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    common: dict[str, Any] = {"run": run, "reference": "the authors' code"}
    few: dict[str, Any] = {"modes": [4, 3, 2], "width": 6, "num_spectral_layers": 2, "latent_steps": 4}
    sizes: dict[str, Any] = {"modes": [4, 3, 2], "width": 6, "layers": 2, "latent": 4}
    ours: dict[str, Any] = {"scales": scales(6), **common}
    relu = {"act": "relu"}
    one = points((1, 64, 72, 10), (2, 64, 64, 13))
    model = network(**few, output_steps=1)
    write("operator/sfno", "one_step", model, one, variant="mcwilliams", config=sizes | relu | {"steps": 1}, **ours)
    three = points((1, 64, 64, 17))
    gelu = network(**few, output_steps=3, activation="GELU")
    write("operator/sfno", "three_steps", gelu, three, variant="mcwilliams", config=sizes | {"steps": 3}, **ours)
    tuned = network(**few, output_steps=2, activation="GELU", spatial_padding=3)
    tuned.output_operator.conv = last([8, 6, 4])
    more = sizes | {"steps": 2, "last_modes": [8, 6, 4], "padding": 3}
    write("operator/sfno", "last_modes", tuned, points((1, 64, 70, 10)), variant="mcwilliams", config=more, **ours)
    published: dict[str, Any] = {"latent_steps": 10, "activation": "GELU"}
    whole = network([32, 32, 5], 10, output_steps=10, **published)
    flow = points((1, 64, 64, 10))
    write("operator/sfno", "mcwilliams", whole, flow, variant="mcwilliams", sweep=True, scales=scales(10), **common)
    whole = network([12, 12, 5], 20, output_steps=40, beta=0.02, **published)
    flow = points((1, 28, 32, 10))
    write("operator/sfno", "fnodata", whole, flow, variant="fnodata", sweep=True, scales=scales(20), **common)
