"""LSM by the authors' code (github.com/thuml/Latent-Spectral-Models, commit d5a0b40). Needs numpy and torch.

python tests/references/make_lsm.py --source Latent-Spectral-Models
"""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

import torch
from fill import Draw, Scale
from making import write

NAME = "LSM d5a0b40"
# Attention is not scaled: tokens of the size that the authors draw would make it uniform.
SCALES = [
    Scale("*.latent", 0, 1), Scale("process?.weights", 0, 0.5), Scale("fftproject_in.weights?", 0, 0.02),
    Scale("fftproject_out.weights?", 0, 0.02),
    Scale("fc0.bias", 0, 1),
    Scale("iphi.fc4.weight", 0, 0.02),  # points move by a tenth: were it more, float32 would lose digits of the highest phases
]  # fmt: skip


def on_the_cpu(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda *arguments, device=None, **options: make(*arguments, **options)


def load(source: str) -> tuple[Any, Any, Any]:
    """The three models, which put constants on a GPU as they are made."""
    torch.Tensor.cuda = lambda self: self  # type: ignore[assignment, method-assign]
    torch.tensor, torch.arange = on_the_cpu(torch.tensor), on_the_cpu(torch.arange)
    sys.path.insert(0, source)
    from models import LSM_2D, LSM_3D, LSM_Irregular_Geo

    return LSM_2D, LSM_3D, LSM_Irregular_Geo


def arguments(width: int, patch: str, channels: int = 1, outputs: int = 1) -> Namespace:
    sizes = {"in_dim": channels, "out_dim": outputs, "d_model": width, "num_token": 4, "num_basis": 12}
    return Namespace(**sizes, patch_size=patch, padding="0,0,0")


def real(projection: Any) -> None:
    """Complex weights as pairs of reals, as a checkpoint of floats has them."""
    for name in ("weights1", "weights2"):
        setattr(projection, name, torch.nn.Parameter(torch.view_as_real(getattr(projection, name).detach()).contiguous()))
    multiply = projection.compl_mul2d
    projection.compl_mul2d = lambda x, weights: multiply(x, torch.view_as_complex(weights))


def on_a_mesh(module: Any, args: Namespace, hidden: int = 32, **sizes: int) -> Any:
    """The model with the map of its points, which the authors train and keep beside it."""
    model = module.Model(args, **sizes)
    model.iphi = module.IPHI(hidden)
    real(model.fftproject_in)
    real(model.fftproject_out)
    return model


def padded(model: Any, x: torch.Tensor, padding: tuple[int, ...]) -> torch.Tensor:
    """With the padding that the authors' scripts give for this grid: of the last dimension first."""
    model.padding = padding
    found: torch.Tensor = model(x)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    plane, space, mesh = load(parser.parse_args().source)

    def case(model: Any, *points: tuple[tuple[int, ...], tuple[int, ...]], variant: str, **options: Any) -> None:
        padding, three = dict(points), variant == "plasticity"
        given, found = ("volume", "evolution") if three else ("field", "solution")

        def run(m: Any, v: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {found: padded(m, v[given], padding[tuple(v[given].shape)])}

        drawn = [{given: Draw(shape)} for shape, _ in points]
        name = variant + "_small" * ("small" in options)
        write("operator/lsm", name, model, drawn, run, reference=NAME, variant=variant, scales=SCALES, **options)

    def on_points(name: str, model: Any, *shapes: tuple[int, ...], **options: Any) -> None:
        points = [{"points": Draw(shape, low=0.05, high=0.95), "geometry": Draw((shape[0], 42))} for shape in shapes]

        def run(m: Any, v: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {"values": m(v["points"], code=v["geometry"], iphi=m.iphi)}

        unused = ["iphi.fc_no_code.*"]
        write("operator/lsm", name, model, points, run, reference=NAME, variant="elasticity", scales=SCALES, unused=unused, **options)

    wide = {"width": 8, "heads": 8}
    little = plane.Model(arguments(8, "2,1"))
    case(little, ((1, 20, 11, 1), (5, 12)), ((2, 21, 21, 1), (11, 11)), variant="darcy", small=True, config={**wide, "patch": [2, 1]})
    little = space.Model(arguments(8, "1,1,1"))
    case(little, ((1, 20, 17, 18, 1), (14, 15, 12)), variant="plasticity", small=True, config=wide)
    little = on_a_mesh(mesh, arguments(8, "2,2", 2), 8, modes1=3, modes2=3, s1=32, s2=32)
    on_points("elasticity_small", little, (2, 50, 2), (1, 4, 2), (3, 73, 2), small=True, config={**wide, "code": 42})
    case(plane.Model(arguments(64, "6,6")), ((1, 85, 85, 1), (11, 11)), variant="darcy", sweep=True)
    case(plane.Model(arguments(64, "4,4", 10)), ((1, 64, 64, 10), (0, 0)), variant="navier_stokes", sweep=True)
    case(plane.Model(arguments(32, "14,4", 2)), ((1, 221, 51, 2), (13, 3)), variant="airfoil", sweep=True)
    case(plane.Model(arguments(48, "9,9", 2)), ((1, 129, 129, 2), (15, 15)), variant="pipe", sweep=True)
    case(plane.Model(arguments(32, "3,3")), ((1, 41, 41, 1), (7, 7)), variant="elasticity_interpolated", sweep=True)
    case(space.Model(arguments(32, "7,2,2", 1, 4)), ((1, 60, 5, 9, 1), (23, 27, 52)), variant="plasticity", sweep=True)
    on_points("elasticity", on_a_mesh(mesh, arguments(32, "6,6", 2)), (1, 972, 2), sweep=True)


if __name__ == "__main__":
    main()
