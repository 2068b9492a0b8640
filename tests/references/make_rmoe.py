"""The authors' decoder, github.com/qiuzh20/RMoE, of which `--source` is a checkout. Needs `pip install torch transformers==4.44.2`.

Their GRU hands its config to `nn.Module`, which takes none, and asks it for an initialiser, which their config does not have;
their model asks itself for numbers of experts, which only its config knows.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import nn

SIZES = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 3, "moe_num_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 24, "num_local_experts": 6, "moe_router_rnn_hidden_size": 12, "max_position_embeddings": 64,
    "use_cache": False, "attn_implementation": "eager",
}  # fmt: skip


class Lenient(nn.Module):
    """A module that is handed a config."""

    def __init__(self, config: object = None) -> None:
        super().__init__()


def run(model: Any, inputs: Tensors) -> Tensors:
    """Every token is there."""
    found = model(**inputs, output_router_logits=True)
    return {"logits": found.logits, "router_logits": torch.stack(found.router_logits)}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, str(Path(parser.parse_args().source) / "llama_moe_rnn"))
    theirs = importlib.import_module("llama_moe_modeling")
    theirs.CustomGRUCell.__bases__ = (Lenient,)
    config = importlib.import_module("configuration_llama_moe_rnn").LlamaMoeRNNConfig(**SIZES)
    config.init_method = nn.init.normal_
    model = theirs.LlamaForCausalLM(config)
    model.num_experts, model.num_experts_per_tok = config.num_local_experts, config.num_experts_per_tok
    points = [
        {"input_ids": Draw(shape, "int64", 0, 96), "attention_mask": Draw(shape, "int64", 1, 2)} for shape in [(1, 1), (2, 9), (3, 24)]
    ]
    strong = [Scale("*.weight2", 0, 1), Scale("*.weight1", 0, 0.3), Scale("*rnn_router.weight_*", 0, 0.5)]  # the state tells choices apart
    write(
        "language/rmoe", "small", model, points, run, reference="github.com/qiuzh20/RMoE", small=True,
        config={"every": True, "routes": True}, scales=strong,
    )  # fmt: skip


if __name__ == "__main__":
    main()
