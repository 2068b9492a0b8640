"""The layers of github.com/Yaxin9Luo/Gamma-MOD as they are trained. Needs `pip install torch transformers==4.37.2 einops`; `--source` is
a checkout of it.

Their model needs FlashAttention and a version of transformers that no longer runs; the forwards that they give its layers need neither.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write
from transformers import LlamaConfig, LlamaForCausalLM

REFERENCE = "github.com/Yaxin9Luo/Gamma-MOD"
INSTRUCTION, VISION, LAYERS = 3, 12, 6
FILE = "gamma_mod/model/language_model/llava_llama_mod.py"


def authors(source: Path) -> Any:
    """Their file, for a prompt as long as ours instead of the one that they write into it."""
    for name in ("matplotlib", "matplotlib.pyplot", "seaborn"):
        sys.modules[name] = ModuleType(name)
    arch = ModuleType("gamma_mod.model.llava_arch")
    arch.__dict__.update({name: type(name, (), {}) for name in ("LlavaMetaModel", "LlavaMetaForCausalLM")})
    sys.modules[arch.__name__] = arch
    for name in ("gamma_mod", "gamma_mod.model", "gamma_mod.model.language_model"):
        sys.modules[name] = ModuleType(name)
    found = ModuleType("gamma_mod.model.language_model.llava_llama_mod")
    sys.modules[found.__name__] = found
    text = source.joinpath(FILE).read_text(encoding="utf-8")
    assert "1024 + 35" in text
    exec(compile(text.replace("1024 + 35", f"{VISION} + {INSTRUCTION}"), FILE, "exec"), found.__dict__)
    return found


def causal(attention: Any) -> None:
    """Attention as FlashAttention does it for them: causal among what it is given."""
    forward = attention.forward

    def masked(hidden_states: torch.Tensor, attention_mask: Any = None, **more: Any) -> Any:
        length = hidden_states.shape[1]
        mask = torch.full((length, length), torch.finfo(torch.float32).min).triu(1).expand(len(hidden_states), 1, -1, -1)
        return forward(hidden_states=hidden_states, attention_mask=mask, **more)

    attention.forward = masked


def decoder(found: Any, sparse: bool) -> Any:
    sizes = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 48}
    model = LlamaForCausalLM(LlamaConfig(**sizes, rms_norm_eps=1e-5, attn_implementation="eager", pad_token_id=None))
    for layer in model.model.layers:
        causal(layer.self_attn)
    model.config.mod = {}
    choice = {"mod_mode": "arank_mod", "mod_layers_idx": None, "capacity_factor": 0.5, "router_aux_loss_coef": 0.01}
    if sparse:
        found.MoDLLaVALlamaForCausalLM.initialize_mod_modules(model, SimpleNamespace(**choice))
    return model


def run(model: Any, inputs: Tensors) -> Tensors:
    embed = model.model.embed_tokens
    x = torch.cat([embed(inputs["before"]), inputs["image"], embed(inputs["after"])], dim=1)
    rows, length = x.shape[:2]
    for layer in model.model.layers:
        x = layer.forward(x, attention_mask=torch.ones(rows, length), position_ids=torch.arange(length)[None], output_attentions=False)[0]
    return {"logits": model.lm_head(model.model.norm(x))}


def point(rows: int, after: int) -> dict[str, Draw]:
    return {
        "before": Draw((rows, INSTRUCTION), "int64", 0, 96),
        "image": Draw((rows, VISION, 32), low=-2, high=2),
        "after": Draw((rows, after), "int64", 0, 96),
    }


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    found = authors(Path(parser.parse_args().source))
    for variant in ("llava-hr-7b", "llava-hr-13b", "llava-hr-7b-dense"):
        write(
            "language/gamma_mod", variant, decoder(found, not variant.endswith("dense")), [point(1, 7), point(3, 1)], run,
            reference=REFERENCE, variant=variant, small=True, config={"every": True}, scales=[Scale("*.router.weight", 0, 0.5)],
            own=["model.layers.4.router.weight"],  # it is that of layer 3
        )  # fmt: skip


if __name__ == "__main__":
    main()
