"""Write what the authors' T1 computes, in one dimension and in two. Run by hand, from a clone of github.com/DiffEqML/kairos:

pip install torch einops && python tests/references/make_t1.py --source kairos

`hydra`, which the code imports and these classes do not use, is stood in for. The one-dimensional layer reads its weights under other names
than it gives them, and its default initialiser lacks an argument: both are supplied here. The two-dimensional grid takes squares only.
Of the modes that no layer works on, the two-dimensional layer keeps those that are high in a Fourier transform, and so drops the highest
along the first side: these are put back, for those of cosines are the last, and the one-dimensional layer keeps them.
"""

from __future__ import annotations

import argparse
import sys
from types import ModuleType
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import nn


def scales(width: int, modes: int) -> list[Scale]:
    """Layers that neither grow nor fade, and a head whose sines see a turn or so: the spectrum of a function that is not small is large."""
    return [
        Scale("*ch_mixing_1", 0, width**-0.5),
        Scale("*spatial_mixing_?", 0, modes**-0.5),
        Scale("fc1", 0, 0.3 * width**-0.5),
        Scale("fc2", 0, 0.3),
    ]


def line(**settings: Any) -> nn.Module:
    from src.models.t1 import T1_1d

    model: nn.Module = T1_1d(signal_resolution=64, weight_init=4, **settings)
    for layer in model.layers:
        layer.__dict__["ch_mixing"], layer.__dict__["spatial_mixing"] = layer.ch_mixing_1, layer.spatial_mixing_1
    return model


def plane(modes: int, **settings: Any) -> nn.Module:
    from src.models.t1 import T1_2d

    model: nn.Module = T1_2d(modes, modes, signal_resolution=(64, 64), **{"act": "gelu", **settings})
    if settings.get("keep_high"):
        for layer in model.layers:
            layer.register_forward_hook(put_back)
    return model


def put_back(layer: Any, inputs: tuple[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
    high = torch.zeros_like(out)
    high[..., -layer.modes1 :, : layer.modes2] = inputs[0][..., -layer.modes1 :, : layer.modes2]
    return out + high


def run(model: nn.Module, inputs: Tensors) -> Tensors:
    field = inputs["field"]
    y = model(field[:, 0] if model.in_channels == 1 else field)
    return {"solution": y[:, None] if model.out_channels == 1 else y}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    sys.modules["hydra"] = ModuleType("hydra")
    common: dict[str, Any] = {"run": run, "reference": "the authors' code"}

    points = [{"field": Draw((2, 1, size))} for size in (32, 45, 128)]
    few: dict[str, Any] = {"modes": 5, "width": 6, "nlayers": 2}
    ours: dict[str, Any] = {"config": {"modes": 5, "width": 6, "layers": 2}, "scales": scales(6, 5)}
    write("operator/t1_1d", "function_small", line(**few), points, variant="function", **ours, **common)
    write("operator/t1_1d", "spectrum_small", line(**few, perform_inverse=False), points, variant="spectrum", **ours, **common)
    write(
        "operator/t1_1d",
        "all_modes_small",
        line(**few, act="gelu", residual=False, keep_high=True),
        points,
        variant="all_modes",
        **ours,
        **common,
    )
    points = [{"field": Draw((1, 1, 1024))}, {"field": Draw((2, 1, 333))}]
    whole: dict[str, Any] = {"sweep": True, "scales": scales(64, 16), **common}
    write("operator/t1_1d", "function", line(modes=16, width=64), points, variant="function", **whole)
    write("operator/t1_1d", "spectrum", line(modes=16, width=64, perform_inverse=False), points, variant="spectrum", **whole)
    all_modes = line(modes=16, width=64, act="gelu", residual=False, keep_high=True)
    write("operator/t1_1d", "all_modes", all_modes, points, variant="all_modes", **whole)

    ours["config"] |= {"modes": [5, 5]}
    points = [{"field": Draw((1, 1, size, size))} for size in (64, 75)]
    write("operator/t1_2d", "inverse_small", plane(**few), points, variant="navier_stokes_inverse", **ours, **common)
    write("operator/t1_2d", "spectrum_small", plane(**few, perform_inverse=False), points, variant="navier_stokes", **ours, **common)
    all_modes = plane(**few, act="sin", residual=False, keep_high=True)
    put = {"reference": "the authors' code, its highest modes put back"}
    loud = [{"field": Draw((1, 1, size, size), low=-8, high=8)} for size in (64, 75)]  # or most modes are lost beside the coordinates'
    write("operator/t1_2d", "all_modes_small", all_modes, loud, variant="all_modes", **ours, **common | put)
    published: dict[str, Any] = {"modes": 24, "width": 48, "nlayers": 8}
    whole = {"sweep": True, "scales": scales(48, 24), **common}
    write("operator/t1_2d", "navier_stokes", plane(**published, perform_inverse=False), points, variant="navier_stokes", **whole)
    write("operator/t1_2d", "navier_stokes_inverse", plane(**published), points, variant="navier_stokes_inverse", **whole)
    for variant, modes, width, size in (("flow_past_airfoils", 64, 48, 72), ("flow_past_airfoils_100", 100, 24, 104)):
        published = {"modes": modes, "width": width, "nlayers": 6, "perform_inverse": False, "in_channels": 3, "out_channels": 3}
        points = [{"field": Draw((1, 3, size, size))}]
        whole["scales"] = scales(width, modes)
        write("operator/t1_2d", variant, plane(**published), points, variant=variant, **whole)
