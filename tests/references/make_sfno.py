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
    one = points((1, 64, 72, 10), (2, 64, 64, 13))
    write("operator/sfno", "one_step", network(**few, output_steps=1), one, variant="base", config=sizes | {"steps": 1}, **ours)
    three = points((1, 64, 64, 17))
    gelu = network(**few, output_steps=3, activation="GELU")
    write("operator/sfno", "three_steps", gelu, three, variant="base", config=sizes | {"steps": 3, "act": "gelu"}, **ours)
    whole = network([32, 32, 5], 10, latent_steps=10, output_steps=2)
    both = points((1, 64, 64, 10), (1, 80, 64, 11))
    write("operator/sfno", "whole", whole, both, variant="base", config={"steps": 2}, sweep=True, scales=scales(10), **common)
