"""HNeRV as its authors wrote it: the whole model, its codes, and its decoder alone.

Needs `pip install numpy torch`, and python tests/references/make_hnerv.py --source PATH (a checkout of github.com/haochen-rye/HNeRV).
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fill import Draw, Scale
from making import Tensors, write

SCALES = (Scale("encoder.*.gamma", 0.8, 0.2), Scale("decoder.*.bias", 0, 0.5))
BUNNY = (5, 4, 4, 2, 2), 640, 1280, 132
UVG = (5, 4, 4, 3, 2), 960, 1920, 600
PUBLISHED = {"bunny_350k": (3.5e5, *BUNNY), "bunny_750k": (7.5e5, *BUNNY), "bunny_1500k": (1.5e6, *BUNNY), "bunny_3m": (3e6, *BUNNY)} | {
    f"uvg_960x1920_{n}m": (n * 1e6, *UVG) for n in (2, 3, 5, 10)
}


def load(source: Path) -> Any:
    """Its module of models. What it imports to read videos stays out."""

    class Anything(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            return Anything(name)

        def __call__(self, *_: Any) -> None: ...

    for name in (
        "decord", "decord.bridge", "matplotlib", "matplotlib.path", "pytorchvideo", "pytorchvideo.data", "pytorchvideo.data.encoded_video",
        "torchvision", "torchvision.io", "torchvision.transforms", "torchvision.transforms.functional", "timm", "timm.models",
        "timm.models.layers", "torchvision.utils", "tqdm", "pandas",
    ):  # fmt: skip
        sys.modules[name] = Anything(name)
    sys.modules["timm.models.layers"].trunc_normal_ = torch.nn.init.trunc_normal_  # type: ignore[attr-defined]
    sys.path.insert(0, str(source))
    return importlib.import_module("model_all")


def first_width(size: float, pixels: int, frames: int, encoder: Sequence[int], decoder: Sequence[int], code: int) -> int:
    """The decoder's first width, as the authors' training script (train_nerv_all.py) solves for it."""
    numbers = code / math.prod(encoder) ** 2 * pixels * frames
    shrink = 1 / 1.2
    a = shrink * sum(shrink ** (2 * i) * s**2 * min(2 * i + 1, 5) ** 2 for i, s in enumerate(decoder))
    b = code * (math.prod(encoder) // math.prod(decoder)) ** 2 * 9
    return int(np.roots([a, b, numbers - size]).max())


def model(modules: Any, encoder: Sequence[int], decoder: Sequence[int], widths: str, width: int, least: int, out: str = "tanh") -> Any:
    """The authors' model with the settings of their command for the video `bunny`."""
    settings = types.SimpleNamespace(
        embed="", ks="0_1_5", num_blks="1_1", enc_strds=list(encoder), enc_dim=widths, conv_type=["convnext", "pshuffel"], norm="none",
        act="gelu", dec_strds=list(decoder), fc_dim=width, reduce=1.2, lower_width=least, out_bias=out,
    )  # fmt: skip
    return modules.HNeRV(settings)


def run(model: Any, inputs: Tensors) -> Tensors:
    decoded, embedded, _ = model(inputs["image"])
    return {"codes": embedded[0], "decoded": decoded}


def decode(model: Any, inputs: Tensors) -> Tensors:
    return {"decoded": model(inputs["embedding"])}


def decode_stored(model: Any, inputs: Tensors) -> Tensors:
    levels = {"quant": inputs["bytes"], "min": inputs["low"], "scale": inputs["step"]}
    return {"decoded": model(importlib.import_module("efficient_nvloader").dequant_tensor(levels))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    modules = load(parser.parse_args().source)
    title = "the authors' code"
    published = {"reference": title, "scales": SCALES, "sweep": True, "every": 7}
    for variant, (size, strides, height, width, frames) in PUBLISHED.items():
        whole = model(modules, strides, strides, "64_16", first_width(size, height * width, frames, strides, strides, 16), 12)
        unit = math.prod(strides)
        points = [{"image": Draw((1, 3, unit, 2 * unit), low=0.0)}]
        write("field/hnerv", variant, whole, points, run, variant=variant, **published)
        alone, code = modules.HNeRVDecoder(whole), (1, 16, 1, 2)
        kept = sum(p.numel() for p in alone.parameters()) + 16 * frames * height * width // unit**2
        print(f"{variant}: decoder and codes take {kept}")
        if variant == "bunny_1500k":
            write(
                "field/hnerv", f"{variant}_decoder", alone, [{"embedding": Draw(code)}], decode, variant=f"{variant}_decoder", **published
            )
            levels = {"bytes": Draw(code, "uint8", 0, 64), "low": Draw(code, low=-8, high=3), "step": Draw(code, low=0.02, high=0.25)}
            write("field/hnerv", f"{variant}_stored", alone, [levels], decode_stored, variant=f"{variant}_stored", **published)
    for name, (encoder, decoder, out) in {
        "tanh": ((3, 2), (3, 2), "tanh"), "unfolded": ((3, 2), (3,), "tanh"), "sigmoid": ((5, 2, 2), (5, 2, 2), "sigmoid"),
    }.items():  # fmt: skip
        config = {"encoder_strides": list(encoder), "strides": list(decoder), "output": out}
        width, unit = first_width(2e3, 12 * 24, 4, encoder, decoder, 4), math.prod(encoder)
        tiny = model(modules, encoder, decoder, "8_4", width, 5, out)
        points = [{"image": Draw((n, 3, h * unit, w * unit), low=0.0)} for n, h, w in ((1, 2, 3), (2, 1, 1))]
        options = {"reference": title, "small": True, "scales": SCALES, "config": config}
        write("field/hnerv", name, tiny, points, run, variant="bunny_1500k", **options)
        alone = modules.HNeRVDecoder(tiny)
        points = [{"embedding": Draw((n, 4, h, w))} for n, h, w in ((1, 2, 3), (2, 1, 1))]
        write("field/hnerv", f"{name}_decoder", alone, points, decode, variant="bunny_1500k_decoder", **options)


if __name__ == "__main__":
    main()
