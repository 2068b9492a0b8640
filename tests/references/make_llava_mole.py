"""LLaVA-MoLE over a Llama of transformers'. Needs `pip install torch transformers`; `--source` is a checkout of forwchen/LLaVA-MoLE.

Their networks run as they are; the decoder around them is transformers', and so is the way of PEFT's adapters beside its attention.
Rows of an image stand in the place of words as their `MLLM_InputAdaptor_Vicuna` puts them.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser, Namespace
from typing import Any

import torch
from adapting import CAUSAL, Config, parts
from fill import Draw, Scale
from making import Tensors, write
from test_llama import reference
from torch import nn

import lamina
from lamina.compiler.elaborate import elaborate

SPEC, REFERENCE = "adapter/llava_mole", "github.com/forwchen/LLaVA-MoLE"
IMAGE = 96  # no word of the small vocabulary


class First(nn.Module):
    """Their network as transformers' layer calls it, without what the routers say."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.network(x)[0]
        return y


class Beside(nn.Module):
    """As PEFT's `lora.Linear` holds an adapter and runs it."""

    def __init__(self, base: nn.Linear, config: Config) -> None:
        super().__init__()
        self.base_layer, self.scaling = base, config["alpha"] / config["rank"]
        self.lora_A = nn.ModuleDict({"default": nn.Linear(base.in_features, config["rank"], bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(config["rank"], base.out_features, bias=False)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x)) * self.scaling
        return y


def adapted(network: Any, config: Config) -> Any:
    model = reference(config)
    for _, around, name in parts(model, "qkvo"):
        setattr(around, name, Beside(getattr(around, name), config))
    for layer in model.model.layers:
        layer.mlp = First(network(Namespace(dense_moe=config["dense"]), config["rank"], config["alpha"], config["experts"], layer.mlp))
    return model


def run(model: Any, inputs: Tensors) -> Tensors:
    """Words have their rows of the table, and the image tokens those of `visual`, one after the other."""
    ids, visual = inputs["input_ids"], inputs["visual"]
    embedded = model.model.embed_tokens(ids.clamp(max=IMAGE - 1)).clone()
    embedded[ids == IMAGE] = visual
    return {"logits": model(inputs_embeds=embedded, attention_mask=inputs["attention_mask"]).logits}


def published(key: str) -> str:
    """As in the state of their `MLLM_LLaVA_MoLE`."""
    return "llm_model.base_model.model." + key.replace(".mlp.network.", ".mlp.")


def points(config: Config) -> list[dict[str, Draw]]:
    """Of a few words, so that every so often an image stands there."""
    found = []
    for shape in ((3, 60), (1, 4)):
        ids = Draw(shape, "int64", IMAGE - 12, IMAGE + 1)
        rows = int((ids.array("input_ids") == IMAGE).sum())
        found.append({"input_ids": ids, "attention_mask": Draw(shape, "int64", 1, 2), "visual": Draw((rows, config["dim"]))})
    return found


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    network = importlib.import_module("moe").LoRA_MOE_LM
    for number, variant in enumerate(lamina.load(f"specs/{SPEC}.yaml").variants):
        config = elaborate(lamina.load(f"specs/{SPEC}.yaml", variant=variant, small=True, **CAUSAL)).config
        write(
            SPEC, variant, adapted(network, config), points(config), run, reference=REFERENCE, variant=variant, small=True, config=CAUSAL,
            sweep=number > 0, scales=[Scale("*lora_B*", 0, 0.3)], key=published, inert=[] if config["dense"] else ["*router*"],
        )  # fmt: skip


if __name__ == "__main__":
    main()
