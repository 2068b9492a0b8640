"""CRAFT as its authors wrote it: the published scales, and a width at which its position bias is not the same everywhere.

Needs `pip install einops torch`, and python tests/references/make_craft.py --source PATH (a checkout of github.com/AVC2-UESTC/CRAFT-SR).
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write

# A softmax over offsets hardly feels a small bias, nor does one over channels feel a small temperature.
SCALES = (
    Scale("*.temperature", 8, 1),
    Scale("*.qkv.weight", 0, 0.5),
    Scale("*.pos.pos[123].2.weight", 0, 1.5),
    Scale("*.pos.*.bias", 0.3, 1),
    Scale("*.q_dwconv.weight", 0, 1),
    Scale("*.last_fc.weight", 0, 0.6),
    Scale("*.hfer_blocks.*.bias", 0, 2),
)
TABLES = ("biases_*", "relative_position_index_*")
INERT = ("*.pos.*",)  # at the published width its norms are over one number, so that the bias is the same everywhere


def load(source: Path) -> Any:
    """The class, from its one file: what the package imports beside it is for training."""
    registry = types.SimpleNamespace(register=lambda: lambda cls: cls)
    for name, content in {
        "basicsr": {},
        "basicsr.utils": {},
        "basicsr.utils.registry": {"ARCH_REGISTRY": registry},
        "basicsr.archs": {},
        "basicsr.archs.arch_util": {"trunc_normal_": torch.nn.init.trunc_normal_},
    }.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content)
    spec = importlib.util.spec_from_file_location("craft_arch", source / "basicsr" / "archs" / "craft_arch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CRAFT


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"enlarged": model(inputs["image"])}


def case(name: str, model: torch.nn.Module, shapes: list[tuple[int, ...]], **options: Any) -> None:
    points = [{"image": Draw((n, 3, *size), low=0.0)} for n, *size in shapes]
    write("restoration/craft", name, model, points, run, reference="the authors' code", scales=SCALES, own=TABLES, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    craft = load(parser.parse_args().source)
    for scale in (2, 3, 4):
        published = craft(upscale=scale, embed_dim=48, depths=[2, 2, 2, 2])
        case(f"x{scale}_whole", published, [(1, 16, 32)], variant=f"x{scale}", sweep=True, inert=INERT)
        small = craft(upscale=scale, embed_dim=128, depths=[1], num_heads=[4], split_size_0=2, split_size_1=4)
        case(
            f"x{scale}_small", small, [(1, 8, 12), (2, 4, 8)], variant=f"x{scale}", small=True, inert=("*.pos3.2.bias",)
        )  # a constant in a softmax


if __name__ == "__main__":
    main()
