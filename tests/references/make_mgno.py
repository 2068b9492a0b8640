"""MgNO by the authors' code (github.com/xlliu2017/MgNO, models.py, commit 3a68a90). Needs numpy and torch.

python tests/references/make_mgno.py --source MgNO
"""

from __future__ import annotations

import argparse
import sys
from types import ModuleType
from typing import Any

import torch
from fill import Draw, Scale
from making import write

NAME = "MgNO 3a68a90"
SMALL = [[1, 0], [1, 1], [2, 0]]
FIVE, SIX = [[1, 0]] * 4 + [[2, 0]], [[1, 0]] * 5 + [[2, 0]]


def load(source: str) -> Any:
    """`models.py`, without the training code that it imports."""
    for name, attribute in (("torchinfo", "summary"), ("utilities3", "count_params")):
        stub = sys.modules[name] = ModuleType(name)
        setattr(stub, attribute, None)
    sys.path.insert(0, source)
    import models

    return models


def case(name: str, model: torch.nn.Module, *shapes: tuple[int, ...], **options: Any) -> None:
    points = [{"field": Draw(shape)} for shape in shapes]
    # The norms' weights have three dims, and would count as a convolution's.
    scales = [Scale("*norm_layer_list.*.weight", 1, 0.25), Scale("*.A.bias", 0.5, 0.5), Scale("last_layer.*.bias", 1, 1)]
    write("operator/mgno", name, model, points, lambda m, v: {"solution": m(v["field"])}, reference=NAME, scales=scales, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    models = load(parser.parse_args().source)

    def make(kind: str, layers: int, width: int, smoothing: list[list[int]], channels: int = 1, **options: Any) -> torch.nn.Module:
        model: torch.nn.Module = getattr(models, kind)(layers, width, channels, 1, smoothing, **options)
        return model

    periodic = {"padding_mode": "circular"}
    helmholtz = [steps[0] for steps in FIVE]
    case("darcy_small", make("MgNO_DC", 2, 4, SMALL), (1, 1, 32, 64), (2, 1, 64, 32), variant="darcy", small=True)
    circular = {"boundary": "circular"}
    case("periodic_small", make("MgNO_DC", 2, 4, SMALL, **periodic), (1, 1, 32, 64), variant="darcy", small=True, config=circular)
    case("navier_stokes_small", make("MgNO_NS", 2, 4, SMALL, bias=True), (2, 1, 64, 64), variant="navier_stokes", small=True)
    residual = make("MgNO_NS", 2, 4, SMALL, bias=True, use_res=True)
    case("residual_small", residual, (1, 1, 64, 64), variant="navier_stokes", small=True, config={"restrict_residual": True})
    whole = {"sweep": True}
    case("darcy", make("MgNO_DC", 4, 24, SIX), (1, 1, 64, 96), variant="darcy", **whole)
    odd = {"rows": 51, "columns": 83}
    case("darcy_smooth_51_83", make("MgNO_DC_smooth", 5, 24, SIX), (1, 1, 51, 83), variant="darcy_smooth", config=odd, **whole)
    case("darcy_smooth", make("MgNO_DC_smooth", 5, 24, SIX), (1, 1, 211, 211), variant="darcy_smooth", **whole)
    pipe = [*[[1, 0]] * 4, [1, 1], [2, 0]]
    case("pipe", make("MgNO_DC", 5, 24, pipe, 2), (1, 2, 64, 64), variant="pipe", **whole)
    navier = [*[[1, 0]] * 3, [2, 0], [2, 0]]
    weak = ["conv_list.0.layer4.2.A.bias"]  # one number, on a grid of 4 x 4 points
    case("navier_stokes", make("MgNO_NS", 5, 32, navier, bias=True), (1, 1, 64, 64), variant="navier_stokes", inert=weak, **whole)
    case("helmholtz", make("MgNO_helm", 4, 20, helmholtz), (1, 1, 101, 101), variant="helmholtz", unused=["*.layer0.0.A.*"], **whole)


if __name__ == "__main__":
    main()
