"""DeepSeekMoE's released modelling code, as github.com/DavidFanzz/SCMoE has it in modeling_models/deepseek-moe; `--source` is a checkout.

Needs `pip install torch transformers==4.44.2`. That copy takes the ranks of a token's experts as an argument: here the best ones.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from fill import Draw
from making import Tensors, write

SPEC, REFERENCE = "language/deepseek_moe", "DeepSeek's modelling code"
SMALL = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "intermediate_size": 48, "moe_intermediate_size": 24, "n_routed_experts": 8, "num_experts_per_tok": 3,
    "max_position_embeddings": 64, "attn_implementation": "eager",
}  # fmt: skip


def authors(source: Path, folder: str, module: str) -> Any:
    """A module of a folder whose name is no package's."""
    sys.modules["theirs"] = package = ModuleType("theirs")
    package.__path__ = [str(source / "modeling_models" / folder)]
    return importlib.import_module(f"theirs.{module}")


def run(model: Any, inputs: Tensors) -> Tensors:
    """Every token is there. Their dispatch for training computes what that for inference does, and has gradients."""
    model.train()
    best = list(range(model.config.num_experts_per_tok))
    return {"logits": model(**inputs, num_experts_per_tok=len(best), routed_tok=best, dynamic_expert_routing_threshold=1.0).logits}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    theirs = authors(Path(parser.parse_args().source), "deepseek-moe", "modeling_deepseek")
    cases: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
        "2b": ("2b", {"first_k_dense_replace": 0, "n_shared_experts": 1}, {}),
        "16b": ("16b", {"first_k_dense_replace": 1, "n_shared_experts": 2}, {}),
        "16b_normalized": ("16b", {"first_k_dense_replace": 1, "n_shared_experts": 2, "norm_topk_prob": True}, {"normalize": True}),
        "145b": ("145b", {"first_k_dense_replace": 1, "n_shared_experts": 4}, {}),
    }
    for name, (variant, options, config) in cases.items():
        model = theirs.DeepseekForCausalLM(theirs.DeepseekConfig(**SMALL, **options)).to(torch.float32)
        points = [
            {"input_ids": Draw(shape, "int64", 0, 96), "attention_mask": Draw(shape, "int64", 1, 2)} for shape in [(1, 1), (2, 9), (3, 24)]
        ]
        write(SPEC, name, model, points, run, reference=REFERENCE, variant=variant, small=True, config={"every": True, **config})


if __name__ == "__main__":
    main()
