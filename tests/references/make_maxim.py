"""MAXIM as its authors wrote it in Flax, with its weights under our paths and in our layouts (`path` and `layout` rename them).

Needs `pip install flax einops torch`, and a checkout of github.com/google-research/maxim:

    python tests/references/make_maxim.py --source PATH
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np
import torch
from fill import Draw, Scale
from flax_bridge import Call, place
from making import Tensors, write

DEPTH = 3
SCALES = (  # so that the few rectified units of the attention live, and every bias matters
    Scale("*.attention.fc1.bias", 0.8, 0.4), Scale("*.attention.fc1.weight", 0, 0.3), Scale("*.out.bias", 0.8, 0.4),
    Scale("*.axes.*.bias", 0, 0.8), Scale("*.bias", 0, 0.3),
)  # fmt: skip
CALM = (  # what leads into the levels and the gates, and what ends their branches
    "*.level.conv.weight", "*.fuse.conv_?.weight", "*.fc2.weight", "*.fc2_?.weight", "*.conv2.weight",
)  # fmt: skip
SMALL = {
    "features": 8, "num_groups": 1, "num_bottleneck_blocks": 1, "high_res_stages": 1, "block_size_hr": (4, 4), "grid_size_hr": (4, 4),
    "block_size_lr": (2, 2), "grid_size_lr": (2, 2),
}  # fmt: skip
NAMES = [  # of Flax, and ours: the first that matches at each place, from left to right
    (r"stage_(\d)_input_conv_(\d)", r"stages.\1.inputs.\2.conv"),
    (r"stage_(\d)_input_fuse_sam_(\d)", r"stages.\1.inputs.\2.fuse"),
    (r"stage_(\d)_encoder_block_(\d)\.Conv_0", r"stages.\1.encoder.\2.level.conv"),
    (r"stage_(\d)_encoder_block_(\d)\.Conv_1", r"stages.\1.encoder.\2.down"),
    (r"stage_(\d)_encoder_block_(\d)\.cross_gating_block", r"stages.\1.encoder.\2.fuse"),
    (r"stage_(\d)_encoder_block_(\d)", r"stages.\1.encoder.\2.level"),
    (r"stage_(\d)_global_block_(\d)\.input_proj", r"stages.\1.bottlenecks.\2.level.conv"),
    (r"stage_(\d)_global_block_(\d)", r"stages.\1.bottlenecks.\2.level"),
    (r"stage_(\d)_cross_gating_block_(\d)", r"stages.\1.bridges.<\2>.fuse"),
    (r"stage_(\d)_decoder_block_(\d)\.ConvTranspose_0", r"stages.\1.decoder.<\2>.up"),
    (r"stage_(\d)_decoder_block_(\d)\.UNetEncoderBlock_0\.Conv_0", r"stages.\1.decoder.<\2>.level.conv"),
    (r"stage_(\d)_decoder_block_(\d)\.UNetEncoderBlock_0", r"stages.\1.decoder.<\2>.level"),
    (r"stage_(\d)_supervised_attention_module_(\d)\.Conv_0", r"stages.\1.decoder.<\2>.features"),
    (r"stage_(\d)_supervised_attention_module_(\d)\.Conv_1", r"stages.\1.decoder.<\2>.out"),
    (r"stage_(\d)_supervised_attention_module_(\d)\.Conv_2", r"stages.\1.decoder.<\2>.attention"),
    (r"stage_(\d)_output_conv_(\d)", r"stages.\1.decoder.<\2>.out"),
    (r"SplitHeadMultiAxisGmlpLayer_(\d)", r"groups.\1.mlp"),
    (r"channel_attention_block_1_?(\d)\.LayerNorm", r"groups.\1.norm.norm"),
    (r"channel_attention_block_1_?(\d)\.channel_attention\.Conv_0", r"groups.\1.attention.fc1"),
    (r"channel_attention_block_1_?(\d)\.channel_attention\.Conv_1", r"groups.\1.attention.fc2"),
    (r"channel_attention_block_1_?(\d)\.channel_mixing\.Dense_0", r"groups.\1.local.mlp.fc1"),
    (r"channel_attention_block_1_?(\d)\.channel_mixing\.Dense_1", r"groups.\1.local.mlp.fc2"),
    (r"channel_attention_block_1_?(\d)", r"groups.\1.local"),
    (r"SplitHeadMultiAxisGating_(\w)\.Dense_0", r"gate_\1.axes.grid.fc"),
    (r"SplitHeadMultiAxisGating_(\w)\.Dense_1", r"gate_\1.axes.block.fc"),
    (r"SplitHeadMultiAxisGating_(\w)", r"gate_\1"),
    (r"GridGmlpLayer|BlockGmlpLayer", lambda m: f"axes.{m[0][:-9].lower()}"),
    (r"(Grid|Block)GatingUnit\.Dense_0", "gate.fc"),
    (r"(Grid|Block)GatingUnit\.intermediate_layernorm", "gate_norm"),
    (r"LayerNorm(_in)?\b", "norm"),
    (r"LayerNorm_([xy])", r"norm_\1"),
    (r"in_project", "fc1"),
    (r"out_project", "fc2"),
    (r"ConvTranspose_0", "up"),
    (r"Conv_0", "conv_x"),
    (r"Conv_1", "conv_y"),
    (r"kernel|scale", "weight"),
]  # fmt: skip


def path(key: str) -> str:
    """Our path for Flax's. It numbers what resizes through the whole network, and scales from the largest."""
    if found := re.match(r"UpSampleRatio_(\d+)\.Conv_0", key):
        stage, k = divmod(int(found[1]), 2 * DEPTH**2)
        part, k = divmod(k, DEPTH**2)
        key = f"stages.{stage}.{('bridges', 'decoder')[part]}.{k // DEPTH}.sources.{k % DEPTH}.conv{key[found.end() :]}"
    for pattern, ours in NAMES:
        key = re.sub(pattern, ours, key)
    return re.sub(r"<(\d)>", lambda m: str(DEPTH - 1 - int(m[1])), key)


def layout(key: str, array: Any) -> Any:
    """Flax's layout of a weight that is in PyTorch's."""
    if array.ndim == 2:
        return array.T
    if array.ndim == 4 and "ConvTranspose" in key:
        return array.transpose(2, 3, 0, 1)[::-1, ::-1]
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


class Bridged(torch.nn.Module):
    """A Flax model as a module of PyTorch: its weights are parameters at our paths."""

    def __init__(self, model: Any, side: int) -> None:
        super().__init__()
        shapes = jax.eval_shape(model.init, jax.random.PRNGKey(0), jax.ShapeDtypeStruct((1, side, side, 3), "float32"))["params"]
        self.model, self.keys = model, {path(k): k for k in flax.traverse_util.flatten_dict(shapes, sep=".")}
        flat = flax.traverse_util.flatten_dict(shapes, sep=".")
        for ours, key in self.keys.items():
            inverse = (lambda a: a.transpose(2, 3, 0, 1)) if "ConvTranspose" in key else (lambda a: a.transpose(3, 2, 0, 1))
            empty = np.empty(flat[key].shape, np.float32)
            place(self, ours, torch.from_numpy(np.zeros((inverse(empty) if empty.ndim == 4 else empty.T).shape, np.float32)))

        names = [name for name, _ in self.named_parameters()]

        def function(image: Any, *weights: Any) -> Any:
            flat = {self.keys[n]: layout(self.keys[n], w) for n, w in zip(names, weights, strict=True)}
            tree = flax.traverse_util.unflatten_dict(flat, sep=".")
            stages = self.model.apply({"params": tree}, image.transpose(0, 2, 3, 1))
            return tuple(x.transpose(0, 3, 1, 2) for stage in stages for x in stage)

        self.function = jax.jit(function)
        self.backwards = jax.jit(lambda arrays, gradients: jax.vjp(function, *arrays)[1](gradients))

    def forward(self, image: torch.Tensor) -> list[list[torch.Tensor]]:
        """What each stage gives, the smallest scale first."""
        found = list(Call.apply(self.function, self.backwards, image, *self.parameters()))
        scales = len(found) // self.model.num_stages
        return [found[i : i + scales] for i in range(0, len(found), scales)]


def calm(model: torch.nn.Module) -> list[Scale]:
    """Smaller weights there: else each stage multiplies the features tenfold, so that its biases do not matter, and rounding errors too."""
    weights = ((k, p.shape) for k, p in model.named_parameters() if any(fnmatchcase(k, pattern) for pattern in CALM))
    return [Scale(k, 0, round(0.7 * math.sqrt(3 / math.prod(shape[1:])), 3)) for k, shape in weights]


def outputs(stages: list[list[torch.Tensor]], supervised: bool) -> Mapping[str, torch.Tensor]:
    """By our names."""
    found = dict(zip(("restored", "half", "quarter"), reversed(stages[-1]), strict=False))
    for scale, name in enumerate(("earlier", "earlier_half", "earlier_quarter")):
        if supervised:
            found[name] = torch.stack([stage[-1 - scale] for stage in stages[:-1]])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    sys.path.insert(0, str(parser.parse_args().source))
    from maxim.models import maxim

    def case(variant: str, official: str, scales: int, shapes: list[tuple[int, ...]], *, small: bool) -> None:
        model = Bridged(maxim.Model(variant=official, num_supervision_scales=scales, **(SMALL if small else {})), 16 if small else 64)

        def run(model: Any, inputs: Tensors) -> Tensors:
            return outputs(model(inputs["image"]), variant.endswith("supervised"))

        points = [{"image": Draw((n, 3, h, w), low=0.0)} for n, h, w in shapes]
        write(
            "restoration/maxim", f"{variant}_{'small' if small else 'whole'}", model, points, run, reference="the authors' code in Flax",
            variant=variant, small=small, sweep=not small, scales=(*SCALES, *calm(model)),
        )  # fmt: skip

    for variant, official, scales in (("s1", "S-1", 1), ("s2", "S-2", 1), ("s2_3", "S-2", 3), ("s3_3_supervised", "S-3", 3)):
        case(variant, official, scales, [(1, 16, 32), (2, 32, 16)], small=True)
    for variant, official, scales in (("s1", "S-1", 1), ("s2", "S-2", 1), ("s3", "S-3", 1), ("s3_3", "S-3", 3)):
        case(variant, official, scales, [(1, 64, 64)], small=False)


if __name__ == "__main__":
    main()
