"""Write what the authors' SHERL makes of transformers' BERT. Run by hand, given a checkout of github.com/Paranioar/SHERL:

pip install transformers && python tests/references/make_sherl.py --source PATH

Their module for transformers is imported by itself; the loop over layers stands here as in `VSE-infty/lib/encoders.py`.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import nn
from transformers import BertConfig, BertModel
from transformers.masking_utils import create_bidirectional_mask

import lamina
from lamina.compiler.elaborate import elaborate

SPEC, REFERENCE = "adapter/sherl", "github.com/Paranioar/SHERL"
FILE = Path(__file__).parents[2] / "specs" / f"{SPEC}.yaml"


class Encoder(nn.Module):
    """As their EncoderText, without what pools words."""

    def __init__(self, side: Any, config: Any) -> None:
        super().__init__()
        sizes = BertConfig(
            vocab_size=config["vocabulary"], hidden_size=config["dim"], num_hidden_layers=config["depth"], layer_norm_eps=config["eps"],
            num_attention_heads=config["heads"], intermediate_size=config["hidden"], attn_implementation="eager",
        )  # fmt: skip
        self.bert = BertModel(sizes, add_pooling_layer=False)
        self.side_module = side(config["depth"], config["dim"], 2 * config["small_dim"], 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        x = self.bert.embeddings(input_ids=input_ids)
        mask = create_bidirectional_mask(config=self.bert.config, inputs_embeds=x, attention_mask=attention_mask)
        seen = [x]
        for layer in self.bert.encoder.layer[:-1]:
            x = layer(x, mask)
            seen.append(x)
        last: torch.Tensor = self.bert.encoder.layer[-1](self.side_module(seen, x), mask)
        return last


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"features": model(**inputs)}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, str(Path(parser.parse_args().source) / "VSE-infty"))
    from lib.adapter_for_transformer import sherl_for_transformer

    points = [
        {"input_ids": Draw((2, 7), "int64", 1, 50), "attention_mask": Draw((2, 7), "int64", 1, 2)},
        {"input_ids": Draw((3, 9), "int64", 1, 50), "attention_mask": Draw((3, 9), "int64", 0, 2)},
    ]
    for name, depth in {"bert-base": 3, "deep": 6}.items():
        config = {} if depth == 3 else {"depth": depth}
        model = Encoder(sherl_for_transformer, elaborate(lamina.load(FILE, variant="bert-base", small=True, **config)).config)
        write(
            SPEC, name, model, points, run, reference=REFERENCE, variant="bert-base", small=True, config=config,
            scales=[Scale("*gate_params", 0.1, 0.05), Scale("*fc_attn.weight", 0, 0.4), Scale("*fc_attn.bias", 0.6, 0.1)],
            inert=["*.key.bias", "*token_type_embeddings.weight"],      # the same for all of a query's scores; one of two kinds
        )  # fmt: skip


if __name__ == "__main__":
    main()
