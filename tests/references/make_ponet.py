"""The authors' pre-trained encoder (at their tag v1.0) and the model of their Long Range Arena. Needs `pip install transformers torch`.

python make_ponet.py --source CHECKOUT, of github.com/lxchtan/PoNet at v1.0. torch_scatter's maximum is written with torch's own, and
the layers from transformers are today's.
"""

from __future__ import annotations

import argparse
import ast
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fill import Draw
from making import Tensors, write
from transformers import BertConfig
from transformers.models.bert import modeling_bert as bert
from transformers.pytorch_utils import apply_chunking_to_forward

FILE = "models/modeling_ponet.py"
NAMES = ("segment_max", "get_token_type_mask", "get_win_max", "PoNetSelfAttention", "PoNetAttention", "PoNetLayer")
LENGTHS = {"listops": 130, "image": 95, "pathfinder": 40, "retrieval": 64, "text": 50}  # shorter than the tasks', for the size of the files


def scatter_max(source: torch.Tensor, index: torch.Tensor, dim: int) -> tuple[torch.Tensor, None]:
    index = index[..., None].expand_as(source)
    return torch.zeros_like(source).scatter_reduce(dim, index, source, "amax", include_self=False), None


class Encoder(torch.nn.Module):
    """PoNetModel.forward of that file, with its layers."""

    def __init__(self, found: dict[str, Any], config: BertConfig) -> None:
        super().__init__()
        self.found = found
        self.embeddings = bert.BertEmbeddings(config)
        layers = [found["PoNetLayer"](config) for _ in range(config.num_hidden_layers)]
        self.encoder = torch.nn.ModuleDict({"layer": torch.nn.ModuleList(layers)})

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, segment_ids: torch.Tensor) -> torch.Tensor:
        mask = (1.0 - attention_mask[:, None, None, :].float()) * -10000.0
        x = self.embeddings(input_ids)
        for layer in self.encoder["layer"]:
            x = layer(x, segment_ids, self.found["get_token_type_mask"](input_ids), mask)[0]
        return x


def pretrained(source: Path) -> dict[str, Any]:
    """The layer and what it is made of: the rest of the file needs an older transformers."""
    tree = ast.parse((source / FILE).read_text(encoding="utf-8"))
    kept = [node for node in tree.body if getattr(node, "name", "") in NAMES]
    found: dict[str, Any] = {
        "torch": torch, "nn": torch.nn, "math": math, "scatter_max": scatter_max, "apply_chunking_to_forward": apply_chunking_to_forward,
        "PoNetSelfOutput": bert.BertSelfOutput, "PoNetOutput": bert.BertOutput, "PoNetIntermediate": bert.BertIntermediate,
        "CLS_ID": 101, "EOS_ID": 102,
    }  # fmt: skip
    exec(compile(ast.Module(kept, []), FILE, "exec"), found)
    return found


def arena(source: Path, task: str) -> tuple[torch.nn.Module, int]:
    """Their Model for a task, and its vocabulary."""
    sys.modules["torch_scatter"] = SimpleNamespace(scatter_max=scatter_max)  # type: ignore[assignment]
    sys.path.insert(0, str(source / "examples" / "LRA" / "code"))
    from lra_config import config
    from model import Model

    chosen = config["pathfinder32" if task == "pathfinder" else task]
    model = chosen["model"] | chosen["extra_attn_config"]["ponet"] | {"attn_type": "ponet"}
    return Model(model), model["vocab_size"]


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"hidden": model(*inputs.values())}


def points(n: int, t: int, vocabulary: int, **more: Draw) -> dict[str, Draw]:
    shape = (n, t)
    return {"input_ids": Draw(shape, "int64", 0, vocabulary), "attention_mask": Draw(shape, "int64", 0, 2), **more}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=Path, required=True)
    source = parser.parse_args().source
    found, reference = pretrained(source), "github.com/lxchtan/PoNet"
    bert_like = {"position_embedding_type": "absolute", "hidden_act": "gelu"}
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    for name, sizes in {"base_small": small, "base": {}}.items():
        ids = [points(n, t, 0, segment_ids=Draw((n, t), "int64", 0, 4)) for n, t in ((1, 4), (2, 7))]
        cases = [p | {"input_ids": Draw(p["input_ids"].shape, "int64", 99, 105)} for p in ids]
        write(
            "sequence/ponet", name, Encoder(found, BertConfig(**bert_like, **sizes)), cases, run, reference=reference, variant="base",
            small=name == "base_small", sweep=name == "base", own=("embeddings.position_ids", "embeddings.token_type_ids"),
        )  # fmt: skip
    for task, length in LENGTHS.items():
        model, vocabulary = arena(source, task)
        case = [points(1, length, vocabulary)]
        write("sequence/ponet", task, model, case, run, reference=reference, variant=task)


if __name__ == "__main__":
    main()
