"""The authors' pre-trained encoder (at their tag v1.0) and the model of their Long Range Arena. Needs `pip install transformers torch`.

python make_ponet.py --source CHECKOUT, of github.com/lxchtan/PoNet at v1.0. torch_scatter's maximum is written with torch's own, and
the layers from transformers are today's.
"""

from __future__ import annotations

import argparse
import ast
import math
import sys
from itertools import product
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
NAMES = ("segment_max", "get_segment_index", "get_token_type_mask", "get_win_max", "PoNetSelfAttention", "PoNetAttention", "PoNetLayer")
# Shorter than the tasks', for the size of the files: a few whole segments and a rest, and about as many tokens as segments.
LENGTHS = {"listops": (130, 63), "image": (95, 32), "pathfinder": (40, 3), "retrieval": (129, 64), "text": (50, 7)}


def scatter_max(source: torch.Tensor, index: torch.Tensor, dim: int) -> tuple[torch.Tensor, None]:
    index = index[..., None].expand_as(source)
    found = source.new_zeros(len(source), int(index.max()) + 1, source.shape[2])
    return found.scatter_reduce(dim, index, source, "amax", include_self=False), None


class Encoder(torch.nn.Module):
    """PoNetModel.forward of that file, with its layers."""

    def __init__(self, found: dict[str, Any], config: BertConfig) -> None:
        super().__init__()
        self.found = found
        self.embeddings = bert.BertEmbeddings(config)
        layers = [found["PoNetLayer"](config) for _ in range(config.num_hidden_layers)]
        self.encoder = torch.nn.ModuleDict({"layer": torch.nn.ModuleList(layers)})

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        segment_ids: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        mask = (1.0 - attention_mask[:, None, None, :].float()) * -10000.0
        x = self.embeddings(input_ids, token_type_ids)
        if segment_ids is None:  # the first is 0 there, for a text begins with a separator, as here it need not
            segment_ids = self.found["get_segment_index"](input_ids)
            segment_ids = segment_ids - segment_ids[:, :1]
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


def arena(source: Path, task: str, **sizes: int) -> tuple[torch.nn.Module, int]:
    """Their Model for a task, and its vocabulary. As in their run_tasks.py, the positions are a power of two."""
    sys.modules["torch_scatter"] = SimpleNamespace(scatter_max=scatter_max)  # type: ignore[assignment]
    sys.path.insert(0, str(source / "examples" / "LRA" / "code"))
    from lra_config import config
    from model import Model

    chosen = config["pathfinder32" if task == "pathfinder" else task]
    model = chosen["model"] | chosen["extra_attn_config"]["ponet"] | {"attn_type": "ponet"} | sizes
    model["max_seq_len"] = 2 ** math.ceil(math.log2(model["max_seq_len"]))
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
    for variant, sizes in product(("base", "base_given"), (small, {})):
        cases = []
        for shape in ((1, 4), (2, 17 if sizes else 7)):
            ids = {"segment_ids": Draw(shape, "int64", 0, 4), "token_type_ids": Draw(shape, "int64", 0, 2)}
            point = points(*shape, 0, **(ids if variant == "base_given" else {}))
            cases.append(point | {"input_ids": Draw(shape, "int64", 99, 105)})  # the separators are 101 and 102
        write(
            "sequence/ponet", variant + ("_small" if sizes else ""), Encoder(found, BertConfig(**bert_like, **sizes)), cases, run,
            reference=reference, variant=variant, small=bool(sizes), sweep=not sizes,
            own=("embeddings.position_ids", "embeddings.token_type_ids"),
        )  # fmt: skip
    for task, lengths in LENGTHS.items():
        model, vocabulary = arena(source, task)
        cases = [points(1, length, vocabulary) for length in lengths]
        write("sequence/ponet", task, model, cases, run, reference=reference, variant=task)
    # At its full length the text's segments are of two tokens, at any other of one.
    narrow = {"embedding_dim": 4, "transformer_dim": 4, "transformer_hidden_dim": 12, "head_dim": 2, "num_layers": 1}
    model, vocabulary = arena(source, "text", **narrow)
    cases = [points(1, 4096, vocabulary)]
    config = {"dim": 4, "depth": 1, "hidden": 12}
    write("sequence/ponet", "text_long", model, cases, run, reference=reference, variant="text", config=config)


if __name__ == "__main__":
    main()
