"""CAM by the authors' code (github.com/maincold2/CAM, commit a639d61): images, and radiance fields at rest and moving. Needs numpy and torch.

python tests/references/make_cam.py --source CAM
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from fill import Draw, Scale
from making import write

NAME = "CAM a639d61"
UNUSED = {
    "imageio": (), "tqdm": ("tqdm",), "torch.utils.tensorboard": ("SummaryWriter",), "siren_pytorch": ("SirenNet",), "tinycudann": (),
    "einops": ("rearrange",),
}  # fmt: skip


def load(path: Path) -> Any:
    """A file of theirs as a module, without what only training needs."""
    for name, attributes in UNUSED.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__dict__.update(dict.fromkeys(attributes))
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def picture(model: Any, v: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"color": model(v["place"][None])[0]}


def radiance(model: Any, v: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    time = (v["time"],) if "time" in v else ()
    color, density = model(v["point"], *time, condition=v["direction"])
    return {"color": color, "density": density[:, 0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, type=Path)
    source = parser.parse_args().source
    images, fields = load(source / "CAM_image.py"), load(source / "CAM_nerfacc/examples/radiance_fields/mlp.py")

    def case(variant: str, model: torch.nn.Module, **options: Any) -> None:
        inputs = {"place": Draw((200, 2), low=0)} if variant == "image" else {"point": Draw((200, 3)), "direction": Draw((200, 3))}
        inputs |= {"time": Draw((200, 1), low=0)} if variant == "dynamic_nerf" else {}
        # Of three planes, the products are read: shifts around 0 would hide one another.
        scales = [Scale("*affine*", 1, 0.4), Scale("pos_enc.proj", 0, 6), Scale("*sigma_layer.output_layer.bias", 1, 0.2)]
        run = picture if variant == "image" else radiance
        name = variant + "_small" * ("small" in options)
        write("field/cam", name, model, [inputs], run, reference=NAME, variant=variant, own=["*encoder.scales"], scales=scales, **options)

    case("image", images.CAM(out_features=3, scale=-1), sweep=True)
    case("nerf", fields.VanillaNeRFRadianceField(), sweep=True)
    case("dynamic_nerf", fields.TNeRFRadianceField(), sweep=True)
    rows = {"rows": 32, "columns": 32}
    small = images.CAM(out_features=3, hidden_features=8, num_frequencies=8, sigma=0.5, scale=-1)
    case("image", small, small=True, config=rows)
    little = {"net_depth": 6, "net_width": 8, "net_width_condition": 8}
    waves = {"point_waves": 10}
    still = fields.VanillaNeRFRadianceField(**little)
    still.mlp.base.affines = torch.nn.ParameterList([torch.zeros(6, 1, 5, 4) for _ in range(6)])
    case("nerf", still, small=True, config=waves)
    moving = fields.TNeRFRadianceField()
    moving.nerf = fields.VanillaNeRFRadianceField(coord_dim=1, **little)
    case("dynamic_nerf", moving, small=True, config={**waves, "warp_width": 64})


if __name__ == "__main__":
    main()
