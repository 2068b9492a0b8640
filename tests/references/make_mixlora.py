"""MixLoRA over a Llama of transformers'. Needs `pip install torch transformers`; `--source` is a checkout of TUDB-Labs/MixLoRA."""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from typing import Any

import torch
from adapting import CAUSAL, Config, causal_points, run_causal, tied
from fill import Scale
from making import write
from test_llama import reference
from torch import nn

import lamina
from lamina.compiler.elaborate import elaborate

SPEC, REFERENCE = "adapter/mixlora", "github.com/TUDB-Labs/MixLoRA"
NETWORK = ("gate_proj", "up_proj", "down_proj")


def options(config: Config) -> dict[str, Any]:
    """As their `adapter_config.json` says it."""
    attention = [f"{part}_proj" for part in config["attention"]]
    return {
        "base_model_name_or_path": "", "task_type": "CAUSAL_LM", "peft_type": "MIXLORA", "routing_strategy": "mixlora",
        "r": config["rank"], "lora_alpha": int(config["alpha"]), "lora_dropout": config["dropout"],
        "target_modules": [*attention, *NETWORK], "num_experts": config["experts"], "top_k": config["k"], "act_fn": "silu",
    }  # fmt: skip


def shapes(base: Any, config: Config) -> dict[str, tuple[int, ...]]:
    """Of the tensors in their `adapter_model.bin`."""
    found: dict[str, tuple[int, ...]] = {}
    for i, layer in enumerate(base.model.layers):
        at = f"mixlora.layers.{i}"
        found[f"{at}.mlp.moe_gate.weight"] = (config["experts"], config["dim"])
        pairs = {f"{at}.self_attn.{part}_proj": getattr(layer.self_attn, f"{part}_proj") for part in config["attention"]}
        pairs |= {f"{at}.mlp.{name}.experts.{e}": getattr(layer.mlp, name) for name in NETWORK for e in range(config["experts"])}
        for path, linear in pairs.items():
            found[f"{path}.lora_A.weight"] = (config["rank"], linear.in_features)
            found[f"{path}.lora_B.weight"] = (linear.out_features, config["rank"])
    return found


def adapted(authors: Any, config: Config) -> Any:
    """Their adapter in a model; what they keep of it in plain dicts becomes a part of the module, so that it has keys.

    And so that `eval()` reaches it, which with them it does not: their experts drop values at inference, too.
    """
    model = reference(config)
    theirs = authors.MixLoraConfig.from_config(options(config))
    theirs.dtype_, theirs.adapter_name_ = torch.float32, "default"
    authors.inject_adapter_in_model(model, theirs, {key: torch.zeros(shape) for key, shape in shapes(model, config).items()})
    for layer in model.model.layers:
        moe = layer.mlp.mixlora_moes["default"]
        moe.gate_ = layer.mlp.moe_gate = nn.Parameter(moe.gate_)
        layer.mlp.changes = nn.ModuleDict({
            "/".join([name, "experts", number]): nn.ModuleDict({part: getattr(linear, part) for part in ("lora_A", "lora_B", "dropout_")})
            for (_, number, name), linear in ((key.split("."), value) for key, value in moe.experts_.items())
        })  # fmt: skip
    return model


def published(key: str) -> str:
    """As their file names it; of the base, as transformers does."""
    if "lora_" not in key and "moe_gate" not in key:
        return key.replace(".base_layer_", "")
    key = key.replace("model.layers", "mixlora.layers").replace("mlp.changes.", "mlp.").replace("/", ".")
    return f"{key}.weight" if key.endswith("moe_gate") else key


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    authors = importlib.import_module("mixlora")
    for number, variant in enumerate(lamina.load(f"specs/{SPEC}.yaml").variants):
        config = elaborate(lamina.load(f"specs/{SPEC}.yaml", variant=variant, small=True, **CAUSAL)).config
        write(
            SPEC, variant, adapted(authors, config), causal_points(), run_causal, reference=REFERENCE, variant=variant, small=True,
            config=CAUSAL, sweep=number > 0, scales=[Scale("*lora_B*", 0, 0.5)], own=tied(config), key=published,
        )  # fmt: skip


if __name__ == "__main__":
    main()
