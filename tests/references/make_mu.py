"""Write what the authors' Mu computes. Run by hand, given a checkout of github.com/microsoft/encoder-decoder-slm:

python tests/references/make_mu.py --source PATH

Its decoder by itself is given what the linears of its keys and values would make of the source.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from fill import Draw
from making import Tensors, write
from torch import nn

SPEC, REFERENCE = "language/mu", "the authors' code"
SIZES = {"n_encoder_layer": 3, "n_decoder_layer": 2, "n_embd": 32, "qkv_embd": 24, "hidden_dim": 48, "vocab_size": 96}
IDS, ALL, SOME = Draw((3, 9), "int64", 1, 96), Draw((3, 9), "int64", 1, 2), Draw((3, 9), "int64", 0, 2)
TARGET = {"decoder_input_ids": Draw((3, 7), "int64", 1, 96)}
CACHE = {name: Draw((3, 2, 3, 9, 4)) for name in ("keys", "values")}
ENCODER = ["transformer.e.*", "transformer.ln_e.*"]
DECODER = ["transformer.ln_f.*"] + [f"transformer.h.*.{part}.*" for part in ("ln?", "mlp", "causal_attn", "cross_attn.q*", "cross_attn.o*")]


class Given(nn.Module):
    """A linear that was run already, to give heads [N, heads, S, width] as [N, S, heads * width]."""

    made: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.made.transpose(1, 2).flatten(2)


def run_whole(model: Any, inputs: Tensors) -> Tensors:
    """Their padding is the token 0."""
    return {"logits": model(inputs["input_ids"] * inputs["attention_mask"], inputs["decoder_input_ids"]).logits}


def run_encoder(model: Any, inputs: Tensors) -> Tensors:
    """What it gives, and the keys and values that each layer of the decoder makes of it."""
    encoded, _ = model.encode(inputs["input_ids"])
    made = {"encoded": encoded}
    for name in ("keys", "values"):
        linears = [getattr(block.cross_attn, f"{name[0]}_linear") for block in model.transformer.h]
        made[name] = torch.stack([linear(encoded).unflatten(2, (3, -1)).transpose(1, 2) for linear in linears], dim=1)
    return made


def run_decoder(model: Any, inputs: Tensors) -> Tensors:
    for i, block in enumerate(model.transformer.h):
        block.cross_attn.k_linear.made, block.cross_attn.v_linear.made = inputs["keys"][:, i], inputs["values"][:, i]
    source = torch.zeros(3, 9, SIZES["n_embd"])
    return {"logits": model.decode(inputs["decoder_input_ids"], source, inputs["attention_mask"] != 0)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, str(Path(parser.parse_args().source) / "src"))
    from mu.models.modeling_mu import Mu, MuConfig

    made = [Mu(MuConfig(**SIZES), "cpu") for _ in range(3)]
    for block in made[2].transformer.h:
        block.cross_attn.k_linear, block.cross_attn.v_linear = Given(), Given()
    common: dict[str, Any] = {"reference": REFERENCE, "small": True, "config": {"every": True}, "own": ["lm_head.weight"]}
    common["inert"] = ["transformer.h.*.cross_attn.k_linear.bias"]  # it adds one number to all scores of a query
    points = {"mu": {"input_ids": IDS, "attention_mask": SOME, **TARGET}, "mu-encoder": {"input_ids": IDS, "attention_mask": ALL}}
    points["mu-decoder"] = {"attention_mask": SOME, **CACHE, **TARGET}
    runs, unused = (run_whole, run_encoder, run_decoder), ([], DECODER, ENCODER)
    for (variant, point), model, run, without in zip(points.items(), made, runs, unused, strict=True):
        write(SPEC, f"{variant}_small", model, [point], run, variant=variant, unused=without, **common)
