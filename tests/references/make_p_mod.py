"""The decoder of github.com/MCG-NJU/p-MoD. Needs `pip install torch transformers==4.37.2`; `--source` is a checkout of it."""

from __future__ import annotations

import importlib
import math
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write

REFERENCE = "github.com/MCG-NJU/p-MoD"
SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48, "rms_norm_eps": 1e-5,
    "pad_token_id": None, "use_cache": False, "mod_router_factor": 0.5, "mod_weight_norm": "tanh_0.2_1", "mod_bias_enabled": True,
    "mod_special_init": True, "attn_implementation": "eager",
}  # fmt: skip
VISION = 12
SCALES = [Scale("*.router.router.weight", 0, 0.15), Scale("*.router.router.bias", 0.6, 0.1)]  # weights that tanh does not level


def authors(source: Path) -> Any:
    """Their decoder, without the rest of LLaVA."""
    for name in ("llava", "llava.model", "llava.model.language_model"):
        sys.modules[name] = package = ModuleType(name)
        package.__path__ = [str(source.joinpath(*name.split(".")))]
    sys.modules["llava.model.llava_arch"] = arch = ModuleType("llava.model.llava_arch")
    arch.__dict__.update({name: type(name, (), {}) for name in ("LlavaMetaModel", "LlavaMetaForCausalLM")})
    found = importlib.import_module("llava.model.language_model.pmod_llava_llama")
    last = SIZES["num_hidden_layers"] - 1  # where they write 31
    found.decay_func_dict["shiftedcos"] = lambda ratio, layer: math.cos(layer * math.pi / last) / 2 + ratio
    return found


def decoder(found: Any, layers: str | None) -> Any:
    """Theirs, with their rule for layers; without one, the decoder that they start from."""
    config = found.PmodLlavaConfig(**SIZES, mod_target_layers=layers)
    model = found.LlamaForCausalLM(config)
    model.model = found.PmodLlavaLlamaModel(config)
    return model


def run(model: Any, inputs: Tensors) -> Tensors:
    """A row at a time, as their inference does."""
    rows = []
    for before, image, after in zip(inputs["before"], inputs["image"], inputs["after"], strict=True):
        x = torch.cat([model.model.embed_tokens(before), image, model.model.embed_tokens(after)])[None]
        mask = torch.zeros(x.shape[:2], dtype=torch.bool)
        mask[:, len(before) : len(before) + VISION] = True
        rows.append(model.lm_head(model.model(inputs_embeds=x, mod_target_mask=mask, return_dict=True)[0]))
    return {"logits": torch.cat(rows)}


def point(rows: int, before: int, after: int) -> dict[str, Draw]:
    return {
        "before": Draw((rows, before), "int64", 0, 96),
        "image": Draw((rows, VISION, 32), low=-2, high=2),
        "after": Draw((rows, after), "int64", 0, 96),
    }


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    found = authors(Path(parser.parse_args().source))
    progressive = "shiftedcos_decay_0.85_0.15"
    for variant, layers in {"llava-1.5-7b": progressive, "llava-next-7b": progressive, "llava-1.5-7b-dense": None}.items():
        write(
            "language/p_mod", variant, decoder(found, layers), [point(1, 5, 7), point(3, 2, 1)], run, reference=REFERENCE,
            variant=variant, small=True, config={"every": True}, scales=SCALES,
        )  # fmt: skip


if __name__ == "__main__":
    main()
