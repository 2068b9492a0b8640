"""CAM by the authors' code (github.com/maincold2/CAM, commit a639d61): lines, images, radiance fields and video. Needs numpy and torch.

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
    "einops": ("rearrange",), "PIL": ("Image",),
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


def video(model: Any, v: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    flows, found = model(v["time"])
    return {"frame": found[:, :3], "shares": found[:, 3:], "flows": flows}


def line(model: Any, v: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = model(v["position"])  # [1, P, 1], or [P, 1]
    return {"value": found.reshape(-1, 1)}


def generator(
    module: Any,
    size: str,
    grids: list[int],
    strides: list[int],
    expansion: int,
    lowest: int,
    times: int,
    kind: str,
    neighbours: int,
    bits: int = 32,
) -> Any:
    """With the options of their command lines."""
    plain = {"reduction": 2, "num_blocks": 1, "norm": "none", "act": "gelu", "bias": True, "sin_res": False, "sigmoid": False, "wbit": bits}
    return module.Generator(
        fc_hw_dim=size, t_dim=grids, stride_list=strides, expansion=expansion, lower_width=lowest, mod_dim=times, conv_type=kind,
        aggs=neighbours, **plain,
    )  # fmt: skip


def videos(module: Any) -> None:
    """The authors' widths, on frames that are small."""

    def case(variant: str, model: Any, **options: Any) -> None:
        scales = [Scale("video_grid.*", 0, 1), Scale("*mod_grid.0", 1, 0.4), Scale("*mod_grid.1", 0, 0.4)]
        if "bits" in options.get("config", {}):  # at 31 levels from 0 to 1, weights of the usual size would be nothing
            scales.append(Scale("layers.*.weight", 0, 1))
        points = [{"time": Draw((2,), low=0)}]
        name = f"video_{variant}" + "_small" * ("small" in options)
        write("field/cam_video", name, model, points, video, reference=NAME, variant=variant, scales=scales, **options)

    strides = [5, 2, 2, 2]
    crop = {"sweep": True, "config": {"rows": 1, "columns": 1, "strides": strides}}
    case("representation", generator(module, "1_1_156", [64, 128, 256, 512], strides, 1, 96, 60, "conv", 4), **crop)
    case("compression", generator(module, "1_1_48", [300, 600], strides, 8, 24, 30, "compact", 4), **crop)
    for variant, kind in (("representation", "conv"), ("compression", "compact")):
        bits = 6 if kind == "compact" else 32  # not above: in the last digit of 5 of a million tanh the rounding differs
        rounded = {"config": {"bits": bits}} if bits < 32 else {}
        case(variant, generator(module, "2_3_8", [3, 5], [2, 2, 2], 2, 8, 4, kind, 2, bits), small=True, **rounded)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, type=Path)
    source = parser.parse_args().source
    lines = load(source / "CAM_1D/network.py")
    images, fields = load(source / "CAM_image.py"), load(source / "CAM_nerfacc/examples/radiance_fields/mlp.py")

    def case(variant: str, model: torch.nn.Module, **options: Any) -> None:
        inputs = {"place": Draw((200, 2), low=0)} if variant == "image" else {"point": Draw((200, 3)), "direction": Draw((200, 3))}
        inputs = {"position": Draw((200, 1), low=0)} if variant.startswith("line") else inputs
        inputs |= {"time": Draw((200, 1), low=0)} if variant == "dynamic_nerf" else {}
        # Of three planes, the products are read: shifts around 0 would hide one another.
        scales = [Scale("*affine*", 1, 0.4), Scale("pos_enc.proj", 0, 6), Scale("*sigma_layer.output_layer.bias", 1, 0.2)]
        run = {"image": picture, "line": line, "line_plain": line}.get(variant, radiance)
        name = variant + "_small" * ("small" in options)
        write("field/cam", name, model, [inputs], run, reference=NAME, variant=variant, own=["*encoder.scales"], scales=scales, **options)

    videos(load(source / "CAM_ffnerv/model.py"))
    case("image", images.CAM(out_features=3, scale=-1), sweep=True)
    for variant, kind in (("line", lines.CAM_PE), ("line_plain", lines.CAM)):  # as their notebook makes them
        case(variant, kind(in_feats=1, hidden_feats=64, n_hidden_layers=3, out_feats=1))
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
