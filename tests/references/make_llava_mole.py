"""LLaVA-MoLE as its authors put it together, over a decoder and CLIP's tower of transformers'. Run by hand, given a checkout of
github.com/forwchen/LLaVA-MoLE:

pip install --no-deps peft accelerate psutil && python tests/references/make_llava_mole.py --source PATH

The towers around which their code stands are read from disk there, and made here.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser, Namespace
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from adapting import CAUSAL, Config
from fill import Draw, Scale
from llava import sized
from making import Tensors, write
from test_llama import reference
from torch import nn

import lamina
from lamina.compiler.elaborate import elaborate

SPEC, REFERENCE = "adapter/llava_mole", "github.com/forwchen/LLaVA-MoLE"
IMAGE, ROWS = 95, 6  # the token, and how many of them an image has: of four patches, and one on either side


class First(nn.Module):
    """Their network as transformers' layer calls it, without what the routers say."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.network(x)[0]
        return y


class Tower(nn.Module):
    """What their `CLIPVisionTower` holds, and its choice of features."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.vision_tower = nn.Module()
        self.vision_tower.vision_model = transformers.CLIPVisionModel(config)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.vision_tower.vision_model(images, output_hidden_states=True).hidden_states[-1][:, 1:]
        return y


class Words:
    """A tokenizer for what their constructor asks."""

    model_max_length = 2048

    def __call__(self, text: str, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(input_ids=torch.zeros(1, len(text), dtype=torch.int64))


def adapted(authors: Any, config: Config) -> Any:
    arguments = Namespace(
        use_lora=True, lora_rank=config["rank"], lora_alpha=config["alpha"], lora_modules="q_proj,k_proj,v_proj,o_proj", llm_moe=True,
        llm_moe_num_experts=config["experts"], dense_moe=config["dense"], vit_trainable="embeddings,pre,encoder",
    )  # fmt: skip
    tower = sized(config).vision_config
    tower.num_hidden_layers = config["tower_layers"]
    model = authors.MLLM_LLaVA_MoLE(arguments, torch.device("cpu"), True, reference(config), Words(), Tower(tower)).float()
    for layer in model.llm_model.base_model.model.model.layers:
        layer.mlp = First(layer.mlp)
    return model.requires_grad_(True)


def run(model: Any, inputs: Tensors) -> Tensors:
    """Their rows of the images, each image's where the text has as many tokens for it."""
    ids, text = inputs["input_ids"], torch.tensor([99999])
    visual = [model.in_adaptor([(True, model.vit(image[None]))], [], [text], None)[0] for image in inputs["pixel_values"]]
    embedded = model.in_adaptor.text_embed(ids)
    if visual:
        embedded = embedded.masked_scatter((ids == IMAGE)[..., None], torch.cat(visual))
    return {"logits": model.llm_model(inputs_embeds=embedded, attention_mask=inputs["attention_mask"]).logits}


def published(key: str) -> str:
    return key.replace(".mlp.network.", ".mlp.")


def points() -> list[dict[str, Draw]]:
    """Of a few words, so that every so often an image's token stands there; as many as there are rows of images."""
    drawn = [Draw((3, n), "int64", IMAGE - 6, IMAGE + 1) for n in range(30, 65)]
    counts = [int((ids.array("input_ids") == IMAGE).sum()) for ids in drawn]
    count, ids = max(((n, ids) for n, ids in zip(counts, drawn, strict=True) if n % ROWS == 0), key=lambda found: found[0])
    alone = Draw((1, 4), "int64", 0, IMAGE)
    return [
        {"input_ids": text, "attention_mask": Draw(text.shape, "int64", 1, 2), "pixel_values": Draw((images, 3, 28, 28))}
        for text, images in ((ids, count // ROWS), (alone, 0))
    ]


def main() -> None:
    """Of the tower's keys biases have no effect, as every query's scores rise alike."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    authors = importlib.import_module("model")
    for variant in ("vicuna-7b", "vicuna-7b-dense"):
        config = elaborate(lamina.load(f"specs/{SPEC}.yaml", variant=variant, small=True, **CAUSAL)).config
        write(
            SPEC, variant, adapted(authors, config), points(), run, reference=REFERENCE, variant=variant, small=True, config=CAUSAL,
            sweep=variant.endswith("dense"), scales=[Scale("*lora_B*", 0, 0.3)], key=published, own=["in_adaptor.text_embed*"],
            unused=["*post_layernorm*"], inert=["vit.*k_proj.bias", *([] if config["dense"] else ["*router*"])],
        )  # fmt: skip


if __name__ == "__main__":
    main()
