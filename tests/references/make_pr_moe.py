"""DeepSpeed's MoE layer (deepspeed/moe) in transformers' GPT-2. `--source` is a checkout of github.com/deepspeedai/DeepSpeed.

Needs `pip install torch transformers`. The layer alone is imported: what it asks of the rest is to exchange tokens with other processes,
of which there are none.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import transformers
from fill import Draw, Scale
from making import Tensors, write
from transformers.models.gpt2.modeling_gpt2 import GPT2MLP

SIZES = {
    "vocab_size": 96,
    "n_embd": 32,
    "n_layer": 5,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": None,
    "eos_token_id": None,
    "attn_implementation": "eager",
}


def layer_of_deepspeed(source: Path) -> Any:
    """Their MoE, alone in the world."""
    for name in ("deepspeed", "deepspeed.moe", "deepspeed.utils"):
        stand_in(name).__path__ = [str(source.joinpath(*name.split(".")))]
    stand_in("deepspeed.comm", all_to_all_single=lambda output, given, group: output.copy_(given), ProcessGroup=object)
    groups = stand_in("deepspeed.utils.groups", mpu=None, _get_expert_model_parallel_world_size=lambda: 1)
    stand_in("deepspeed.utils.timer", SynchronizedWallClockTimer=object)
    sys.modules["deepspeed.utils"].__dict__.update(groups=groups, logger=None, log_dist=lambda *_: None)
    sys.modules["deepspeed"].__dict__.update(comm=sys.modules["deepspeed.comm"], utils=sys.modules["deepspeed.utils"])
    return importlib.import_module("deepspeed.moe.layer").MoE


def stand_in(name: str, **members: Any) -> ModuleType:
    sys.modules[name] = module = ModuleType(name)
    module.__dict__.update(members)
    return module


def decoder(layer: Any, residual: bool) -> Any:
    """GPT-2 with a mixture, of which no token is dropped, in the second and fourth layers."""

    class Mixture(layer):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = super().forward(x)[0]
            return made

    config = transformers.GPT2Config(**SIZES)
    model = transformers.GPT2LMHeadModel(config)
    for number, count in {1: 4, 3: 6}.items():
        model.transformer.h[number].mlp = Mixture(
            32, GPT2MLP(4 * 32, config), count, use_residual=residual, min_capacity=0, drop_tokens=False, use_rts=False
        )
    return model


def run(model: Any, inputs: Tensors) -> Tensors:
    """Every token is there."""
    return {"logits": model(**inputs).logits}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    layer = layer_of_deepspeed(Path(parser.parse_args().source))
    version = Path(sys.argv[-1], "version.txt").read_text().strip()
    reference = f"DeepSpeed {version} in transformers' GPT-2"
    scales = [Scale("*.wg.weight", 0, 1), Scale("*.ln_2.bias", 0, 0.02)]  # every expert is some token's
    shapes = [(1, 1), (2, 9), (4, 30)]
    for variant in ("350m-moe", "350m-pr", "350m-mos", "1.3b-moe", "1.3b-pr", "1.3b-mos"):
        model = decoder(layer, residual=not variant.endswith("-moe"))
        points = [{"input_ids": Draw(shape, "int64", 0, 96), "attention_mask": Draw(shape, "int64", 1, 2)} for shape in shapes]
        write(
            "language/pr_moe", variant, model, points, run, reference=reference, variant=variant, small=True, config={"every": True},
            scales=scales, own=["lm_head.weight"],
        )  # fmt: skip


if __name__ == "__main__":
    main()
