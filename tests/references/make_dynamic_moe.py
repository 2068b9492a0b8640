"""The authors' decoder, github.com/ZhenweiAn/Dynamic_MoE, of which `--source` is a checkout.

Needs `pip install torch transformers==4.44.2`.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from typing import Any

import torch
from fill import Draw
from making import Tensors, write

SPEC, REFERENCE = "language/dynamic_moe", "github.com/ZhenweiAn/Dynamic_MoE"
SMALL = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 24, "num_experts": 6,
    "max_position_embeddings": 64, "use_cache": False,
}  # fmt: skip


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    theirs, configs = importlib.import_module("modeling.modeling_moe"), importlib.import_module("modeling.configuration_moe")
    met: list[torch.Tensor] = []
    choose = theirs.top_p_sampling_batched_all_sequence

    def watched(*given: Any) -> Any:
        """Their choice, of which we note how many experts it keeps for a token."""
        weights, kept = choose(*given)
        met.append((kept >= 0).sum(-1).float().mean())
        return weights, kept

    theirs.top_p_sampling_batched_all_sequence = watched

    def run(model: Any, inputs: Tensors) -> Tensors:
        """Every token is there."""
        met.clear()
        return {"logits": model(**inputs).logits, "experts_met": torch.stack(met)}

    cases = {
        "3.5b": ({"expert_frequency": 1, "top_p_threshold": 0.4}, {}),
        "3.5b_more": ({"expert_frequency": 1, "top_p_threshold": 0.8}, {"p": 0.8}),
        "3.5b_every_second": ({"expert_frequency": 2, "top_p_threshold": 0.4}, {"every_so_many": 2}),
    }
    for name, (options, config) in cases.items():
        model = theirs.MoEForCausalLM(configs.MoEConfig(**SMALL, **options))
        shapes = [(1, 5), (2, 9), (3, 24)]
        points = [{"input_ids": Draw(shape, "int64", 0, 96), "attention_mask": Draw(shape, "int64", 1, 2)} for shape in shapes]
        own = ["*.inv_freq"]
        write(SPEC, name, model, points, run, reference=REFERENCE, variant="3.5b", small=True, config={"every": True, **config}, own=own)


if __name__ == "__main__":
    main()
