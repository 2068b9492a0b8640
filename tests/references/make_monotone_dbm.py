"""The authors' potentials of images, at their mean field. Needs torch, and `--source`, a checkout of github.com/locuslab/MonotoneDBM."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

import numpy as np
import torch
from fill import Draw, Scale
from making import Tensors, write

parser = ArgumentParser(description=__doc__)
parser.add_argument("--source", required=True)
sys.path.insert(0, parser.parse_args().source)
from multitier_conv import MultiMonotoneHollowConv  # noqa: E402

SIZES = [(2, 8, 8, 1), (6, 4, 4, 2), (6, 2, 2, 2), (4, 1)]  # channels, height, width and variables, or states and variables
KERNELS = np.array([[3, 0, 0, 0], [3, 3, 0, 0], [3, 3, 3, 0], [0, 0, 1, 1]])


class Machine(torch.nn.Module):
    """Without the limit on the norms, which the code puts on the rows alone: weights below it are the paper's own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear_module = MultiMonotoneHollowConv(SIZES, KERNELS, monotone_m=-1)


def by_variable(parts: list[torch.Tensor]) -> torch.Tensor:
    """Of images [N, variables * states, h, w], the entries variable by variable."""
    split = [part.unflatten(1, (size[-1], -1)).permute(0, 1, 3, 4, 2).flatten(1) for part, size in zip(parts, SIZES, strict=True)]
    return torch.cat(split, 1)


def as_images(flat: torch.Tensor, sizes: list[Any]) -> list[torch.Tensor]:
    """Its inverse."""
    shapes = [(size[-1], *(size[1:3] if len(size) == 4 else (1, 1)), size[0] // size[-1]) for size in sizes]
    parts = torch.split(flat, [int(np.prod(shape)) for shape in shapes], 1)
    return [part.reshape(-1, *shape).permute(0, 1, 4, 2, 3).flatten(1, 2) for part, shape in zip(parts, shapes, strict=True)]


def run(model: Any, inputs: Tensors) -> Tensors:
    """So weak potentials let the plain iteration converge."""
    field = model.linear_module
    with torch.no_grad():
        field.g[:] = torch.stack([bias.norm() for bias in field.biases])  # which the code divides the biases by
    states = torch.tensor([2] * 64 + [3] * 40 + [4])
    place = torch.arange(int(states.sum())) - torch.repeat_interleave(states.cumsum(0) - states, states)
    held = (torch.repeat_interleave(inputs["values"], states, 1) == place).float()
    clamped = torch.repeat_interleave(inputs["observed"], states, 1)
    q = torch.where(clamped, held, 0.3)
    for _ in range(30):
        told = [t.unflatten(1, (size[-1], -1)).softmax(2).flatten(1, 2) for t, size in zip(field(*as_images(q, SIZES)), SIZES, strict=True)]
        q = torch.where(clamped, held, by_variable(told))
    return {"beliefs": q}


def main() -> None:
    points = [{"values": Draw((n, 105), "int64", 0, 2), "observed": Draw((n, 105), "bool", 0, 2)} for n in (1, 3)]
    write(
        "probabilistic/monotone_dbm", "images_small", Machine(), points, run, reference="the authors' code", variant="images", small=True,
        scales=[Scale("*.weight", 0, 0.08)], own=["*.g"], unused=["*.g"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
