"""The authors' PolyNorm and PolyReLU between two linears. Needs `pip install torch`, and a checkout of github.com/BryceZhuo/PolyCom.

python make_polycom.py --source CHECKOUT
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import Any

import torch
from fill import Draw
from making import Tensors, write
from torch.nn import functional

FILE = "dense_model/megatron_patch/model/llama2/transformer.py"
NAMES = ("norm", "polynorm", "poly", "PolyNorm", "PolyReLU")


def authors(source: Path) -> dict[str, Any]:
    """The activations alone: the rest of the file imports Megatron."""
    tree = ast.parse((source / FILE).read_text(encoding="utf-8"))
    kept = [node for node in tree.body if getattr(node, "name", "") in NAMES]
    found: dict[str, Any] = {"torch": torch, "nn": torch.nn, "F": functional}
    exec(compile(ast.Module(kept, []), FILE, "exec"), found)
    return found


class FeedForward(torch.nn.Module):
    """ParallelMLP of that file on one device, without biases."""

    def __init__(self, dim: int, hidden: int, activation: torch.nn.Module) -> None:
        super().__init__()
        self.dense_h_to_4h = torch.nn.Linear(dim, hidden, bias=False)
        self.activation_func = activation
        self.dense_4h_to_h = torch.nn.Linear(hidden, dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.dense_4h_to_h(self.activation_func(self.dense_h_to_4h(x)))
        return y


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"y": model(inputs["x"])}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=Path, required=True)
    found = authors(parser.parse_args().source)
    for variant, name, width in (("poly_norm", "PolyNorm", 8256), ("poly_relu", "PolyReLU", 8256), ("expert", "PolyNorm", 1536)):
        for size, (dim, hidden) in {"small": (8, 24), "whole": (2048, width)}.items():
            points = [{"x": Draw((n, t, dim), low=-3, high=3)} for n, t in ((1, 3), (2, 1))]
            write(
                "layer/polycom", f"{variant}_{size}", FeedForward(dim, hidden, found[name]()), points, run,
                reference="github.com/BryceZhuo/PolyCom", variant=variant, small=size == "small", sweep=size == "whole",
                macs_at={"N": 1, "T": 3},
            )  # fmt: skip


if __name__ == "__main__":
    main()
