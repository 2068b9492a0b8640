"""The package `wavemix`: each level's block, both stems, the three tasks. Needs `pip install pywavelets einops torch` and its source.

python tests/references/make_wavemix.py --source PATH (a checkout of github.com/pranavphoenix/WaveMix)
"""

from __future__ import annotations

import argparse
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fill import Draw, Scale
from making import Tensors, write

SCALES = (
    Scale("layers.*.feedforward4.*.bias", 0, 1.2),
    Scale("layers.*.[03].bias", 0, 0.6),
)  # what comes up from the coarsest level passes many others
SMALL = {"final_dim": 16, "ff_channel": 16, "depth": 2}
STRIDED = {"level": 1, "initial_conv": "strided", "stride": 1}
CLASSIFIERS = {
    "imagenet_192_16_1": {"level": 1},
    "imagenet_192_16_3": {},
    "imagenet_256_16_3": {"final_dim": 256, "ff_channel": 256},
    "imagenet_256_16_4": {"final_dim": 256, "ff_channel": 256, "level": 4, "initial_conv": "strided"},
    "places365_256_12_2": {"final_dim": 256, "ff_channel": 256, "depth": 12, "level": 2, "patch_size": 8, "num_classes": 365},
    "tinyimagenet_256_12_1": {**STRIDED, "final_dim": 256, "ff_channel": 256, "depth": 12, "num_classes": 200},
    "cifar10_144_7_1": {**STRIDED, "final_dim": 144, "ff_channel": 144, "depth": 7, "num_classes": 10},
    "cifar10_320_8_1": {**STRIDED, "final_dim": 320, "ff_channel": 320, "depth": 8, "num_classes": 10},
    "cifar100_256_8_1": {**STRIDED, "final_dim": 256, "ff_channel": 256, "depth": 8, "num_classes": 100},
    "cifar100_256_10_1": {**STRIDED, "final_dim": 256, "ff_channel": 256, "depth": 10, "num_classes": 100},
}
# Small, each of these is as another.
WHOLE_ONLY = ("imagenet_256_16_3", "tinyimagenet_256_12_1", "cifar10_320_8_1", "cifar100_256_8_1", "cifar100_256_10_1")


def load(source: Path) -> Any:
    """Its modules. It imports a name that NumPy no longer has, and does not use it."""
    gone = types.ModuleType("numpy.lib.function_base")
    gone.hamming = np.hamming  # type: ignore[attr-defined]
    sys.modules["numpy.lib.function_base"] = gone
    sys.path.insert(0, str(source))
    return [importlib.import_module(f"wavemix.{name}").WaveMix for name in ("classification", "SemSegment", "sisr")]


def cityscapes(classifier: Any, classes: int) -> torch.nn.Module:
    """As the authors' script makes it: the classifier's pool replaced."""
    model: torch.nn.Module = classifier()
    ups = [torch.nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in ((192, 128), (128, 64))]
    model.pool = torch.nn.Sequential(*ups, torch.nn.Conv2d(64, classes, 1))
    return model


def case(variant: str, model: torch.nn.Module, output: str, size: tuple[int, int], *, small: bool, **options: Any) -> None:
    def run(model: Any, inputs: Tensors) -> Tensors:
        return {output: model(inputs["image"])}

    shapes = [(1, 3, *size), (2, 3, size[1], size[0])] if small else [(1, 3, *size)]
    points = [{"image": Draw(shape)} for shape in shapes]
    write(
        "vision/wavemix", f"{variant}_{'small' if small else 'whole'}", model, points, run, reference="the authors' package",
        variant=variant, small=small, sweep=not small, scales=SCALES, **options,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    classifier, segmenter, enlarger = load(parser.parse_args().source)
    for variant, settings in CLASSIFIERS.items():
        unit = 64 if settings.get("patch_size") != 8 else 32
        case(variant, classifier(**settings), "logits", (unit, 2 * unit), small=False)
        if variant not in WHOLE_ONLY:
            case(variant, classifier(**{**settings, **SMALL, "num_classes": 5}), "logits", (unit, 2 * unit), small=True)
    case("cityscapes_192_16_3", cityscapes(classifier, 3), "classes_at", (32, 32), small=False, config={"classes": 3})
    case("segmentation", segmenter(num_classes=3), "classes_at", (64, 64), small=False, config={"classes": 3})
    tiny = segmenter(**SMALL, num_classes=1, level=4, stride=2)
    case("segmentation", tiny, "classes_at", (64, 64), small=True, config={"classes": 1})
    case("super_resolution", enlarger(), "enlarged", (24, 32), small=False)
    case("super_resolution", enlarger(**SMALL), "enlarged", (8, 16), small=True, config={"classes": 3})


if __name__ == "__main__":
    main()
