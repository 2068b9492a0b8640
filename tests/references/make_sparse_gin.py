"""The decoder layer with a Sparse-GIN adapter of github.com/lamm-mit/Graph-Aware-Transformers. Run by hand, given a checkout of it:

pip install torch torch_geometric transformers==4.46.3 matplotlib && python tests/references/make_sparse_gin.py --source PATH

Their graph network takes an adjacency's rows for where edges come from, though they are where attention goes to; and it drops what comes
from a later token, which leaves each token's edge to itself. That is the variant `authors`. The other has the adjacency turned round.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

ADAPTER: dict[str, Any] = {
    "num_layers": 1, "activation": "prelu", "lambda_GNN": 0.5, "combined_norm": False, "gnn_type": "causal_gin", "gnn_mode": "single",
    "GIN_hidden_dim_multiplier": 1, "continuous_transform_alpha": 10.0, "threshold": 0.1, "epsilon_threshold": 0.6, "gnn_residual": False,
    "MLP_type": "no_MLP",
}  # fmt: skip
LLAMA: dict[str, Any] = {"rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 131072}
ROPE = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
SIZES: dict[str, tuple[dict[str, int], int, float, list[tuple[int, int]]]] = {
    "small": ({"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2}, 10, 4.0, [(1, 2), (2, 20)]),
    "whole": ({"hidden_size": 3072, "num_attention_heads": 24, "num_key_value_heads": 8}, 155, 32.0, [(1, 5)]),
}


def scales(dim: int) -> list[Scale]:
    """Scores that part edges, a network as strong as what it is added to, and one slope under both of its names."""
    attention = [Scale("input_layernorm.weight", 2, 0.5), Scale("*q_proj.weight", 0, 5 * dim**-0.5)]
    return [*attention, Scale("*epsilon", 0.7, 0.2), Scale("*activation*.weight", 0.4, 0), Scale("trainable_scale", 0.6, 0)]


def authors_layer(source: Path) -> Any:
    """Their module, whose package need not be installed, and whose other networks alone use torch_scatter."""
    package, scatter = ModuleType("xgpt"), ModuleType("torch_scatter")
    package.__path__ = [str(source / "src" / "xgpt")]
    scatter.__dict__.update(dict.fromkeys(("scatter_mean", "scatter_add", "scatter_min", "scatter_max")))
    sys.modules.update({"xgpt": package, "torch_scatter": scatter})
    return importlib.import_module("xgpt.llama_decoder_layer_with_gnn")


def layer(authors: Any, sizes: dict[str, int], nodes: int, factor: float, *, turned: bool) -> nn.Module:
    """Without the frozen MLP behind it, and the norm before that."""
    config = LlamaConfig(**sizes, **LLAMA, rope_scaling={**ROPE, "factor": factor})
    config._attn_implementation = "eager"
    config.gnn_config = sys.modules["xgpt.gnn_config"].GNNConfig(**ADAPTER, hidden_dim=nodes)
    model: nn.Module = authors.LlamaDecoderLayerWithGNN(config, layer_idx=0)
    model.post_attention_layernorm = nn.Identity()
    model.turns = LlamaRotaryEmbedding(config=config)
    if turned:
        adjacency: Any = model.construct_adjacency
        model.construct_adjacency = lambda *args: adjacency(*args).transpose(-2, -1)
    return model


def run(model: Any, inputs: Tensors) -> Tensors:
    x = inputs["x"]
    length = x.shape[1]
    mask = torch.full((length, length), torch.finfo(x.dtype).min).triu(1).expand(len(x), 1, -1, -1)
    return {"y": model(x, attention_mask=mask, position_embeddings=model.turns(x, torch.arange(length)[None]))[0]}


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    authors = authors_layer(Path(parser.parse_args().source))
    for variant in ("threshold", "authors"):
        for name, (sizes, nodes, factor, shapes) in SIZES.items():
            write(
                "layer/sparse_gin", f"{variant}_{name}", layer(authors, sizes, nodes, factor, turned=variant == "threshold"),
                [{"x": Draw((*shape, sizes["hidden_size"]), low=-2, high=2)} for shape in shapes], run,
                reference="github.com/lamm-mit/Graph-Aware-Transformers", variant=variant, small=name == "small",
                scales=scales(sizes["hidden_size"]),
            )  # fmt: skip
