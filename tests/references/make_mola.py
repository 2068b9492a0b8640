"""MoLA over a Llama of transformers'. Needs `pip install torch transformers`; `--source` is a checkout of github.com/GCYZSL/MoLA.

Their decoder is transformers 4.28's, but that linear layers also hand back the routers' logits. Only the layer is taken from it.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from types import ModuleType
from typing import Any

import torch
from adapting import CAUSAL, causal_points, parts, run_causal, tied
from fill import Scale
from making import write
from test_llama import reference
from torch import nn

import lamina
from lamina.compiler.elaborate import elaborate

SPEC, REFERENCE = "adapter/mola", "github.com/GCYZSL/MoLA"


class Single(nn.Module):
    """A layer of theirs as a linear layer of transformers', without the logits."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x)[0]
        return y


def published(key: str) -> str:
    """As their `get_peft_model_state_dict_moe` writes an adapter."""
    if "lora_" not in key and "router" not in key:
        return key.replace(".layer.", ".")
    return "base_model.model." + key.replace(".layer.", ".").replace(".default_", "_")


def stand_in(name: str, **members: Any) -> None:
    """What their file imports of PEFT 0.4, and their layer does not use."""
    sys.modules[name] = module = ModuleType(name)
    module.__dict__.update(members)


def authors() -> Any:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    stand_in("peft")
    stand_in("peft.import_utils", is_bnb_4bit_available=lambda: False, is_bnb_available=lambda: False)
    unused = ("COMMON_LAYERS_PATTERN", "TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING", "ModulesToSaveWrapper", "PeftType")
    unused += ("_freeze_adapter", "_get_submodules")
    stand_in("peft.utils", PeftConfig=object, transpose=lambda w, turned: w.T if turned else w, **dict.fromkeys(unused))
    sys.modules["peft.utils"].PeftType = type("PeftType", (), {"LORA": "LORA"})  # type: ignore[attr-defined]
    return importlib.import_module("src.mola_lora_hacked").Linear_MoE


def main() -> None:
    layer = authors()
    for number, variant in enumerate(lamina.load(f"specs/{SPEC}.yaml").variants):
        config = elaborate(lamina.load(f"specs/{SPEC}.yaml", variant=variant, small=True, **CAUSAL)).config
        model = reference(config)
        options = {"lora_alpha": config["alpha"], "lora_dropout": config["dropout"], "top_k": [config["k"]] * config["layers"]}
        for i, parent, name in parts(model, config["adapted"]):
            old = getattr(parent, name)
            new = layer(
                "default", old.in_features, old.out_features, r=[config["rank"]] * config["layers"], bias=False, layer_index=i,
                number_experts=config["experts"], **options,
            )  # fmt: skip
            new.weight = old.weight
            setattr(parent, name, Single(new))
        write(
            SPEC, variant, model, causal_points(), run_causal, reference=REFERENCE, variant=variant, small=True, config=CAUSAL,
            sweep=number > 0, scales=[Scale("*lora_B*", 0, 0.2)], own=tied(config), key=published,
        )  # fmt: skip


if __name__ == "__main__":
    main()
