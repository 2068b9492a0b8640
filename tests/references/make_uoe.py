"""Write what the Union of Experts computes. Run by hand, given a checkout of github.com/YujiaoYang-work/UoE:

python tests/references/make_uoe.py --source PATH

All that computes is the authors', of `language_modeling`. What is set otherwise, so that a text does not depend on those beside it: the
gates' epsilon is so large that scores are divided by a constant; heads choose as many tokens as their networks do; and networks are given
[N, T, dim], as in `long_range_modeling`, not [T, N, dim]. Of tokens that did not name an expert, all of score 0, theirs takes any, and here
the first.
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
from torch import Tensor, nn

CUTOFFS, VOCABULARY = [12, 24, 40], 56
SCALES = [
    Scale("*gate.weight", 0, 0.5), Scale("*.W_*.weight.*", 0, 0.3), Scale("*.ff.weight.*", 0, 0.5), Scale("*.linear?.weight.*", 0, 0.4),
    Scale("word_emb.emb_layers.?.weight", 0, 0.3), Scale("*_projs.?", 0, 0.4), Scale("crit.cluster_weight", 0, 0.3), Scale("r_emb", 0, 1),
]  # fmt: skip


def first_of_equals(x: Tensor, k: int, dim: int = -1) -> tuple[Tensor, Tensor]:
    values, indices = torch.sort(x, dim=dim, descending=True, stable=True)
    return values.narrow(dim, 0, k).contiguous(), indices.narrow(dim, 0, k).contiguous()


def authors(source: Path) -> Any:
    """Their module `mem_transformer`, on a machine without a GPU, and without the networks that they compare with."""
    sys.path[:0] = [str(source / "language_modeling"), str(source / "language_modeling" / "utils")]
    for name in ("model.baseline", "model.baseline.DeepSeek", "model.baseline.DeepSeek.DeepSeekV3"):
        sys.modules[name] = found = ModuleType(name)
        found.__dict__.update(dict.fromkeys(("Transformer", "ModelArgs", "precompute_freqs_cis")))
    torch.version.cuda = torch.version.cuda or "12.0"
    torch.cuda.current_device = lambda: torch.device("cpu")
    torch.topk = first_of_equals
    module = importlib.import_module("mem_transformer")
    heads, networks = (importlib.import_module(f"model.{name}") for name in ("attention.SMHA_v3", "mlp.UoME_DS"))
    heads.preprocess = networks.preprocess
    return module


def turned(_: nn.Module, inputs: Any, output: Any = None) -> Tensor:
    """[T, N, dim] to [N, T, dim], or back."""
    found: Tensor = (inputs[0] if output is None else output).transpose(0, 1).contiguous()
    return found


def model_of(module: Any, narrowing: int, heads: int, positions: int) -> nn.Module:
    made: nn.Module = module.MemTransformerLM(
        VOCABULARY, 2, heads, 64, 64 // heads, 48, 0.0, 0.0, div_val=narrowing, cutoffs=CUTOFFS, attn_type=5, tgt_len=positions,
        ext_len=0, mem_len=0, tie_projs=[False] * 4,
    )  # fmt: skip
    for layer in made.layers:
        layer.dec_attn.switch_gate.epsilon = layer.pos_ff.switch_gate.epsilon = 1e8
        layer.pos_ff.register_forward_pre_hook(turned)
        layer.pos_ff.register_forward_hook(turned)
    return made


def run(model: Any, inputs: Tensors) -> Tensors:
    """The loss of each word, as if it were the next."""
    hidden = model._forward(inputs["input_ids"].T.contiguous())[0].transpose(0, 1)
    rows = hidden.reshape(-1, hidden.shape[-1])
    losses = [model.crit(rows, torch.full((len(rows),), word)) for word in range(VOCABULARY)]
    return {"logprobs": -torch.stack(losses, dim=-1).reshape(*hidden.shape[:2], VOCABULARY)}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    module = authors(Path(parser.parse_args().source))
    cases: dict[str, tuple[int, dict[str, int]]] = {"wt103": (1, {}), "lm1b": (4, {}), "wt103_8_heads": (1, {"heads": 8, "positions": 40})}
    for name, (narrowing, own) in cases.items():
        sizes = {"heads": 4, "positions": 24} | own
        shapes = [(1, 24), (3, 11), (2, 2)]
        write(
            "language/uoe", name, model_of(module, narrowing, **sizes),
            [{"input_ids": Draw(shape, "int64", 0, VOCABULARY)} for shape in shapes], run,
            reference="github.com/YujiaoYang-work/UoE", variant=name.split("_")[0], small=True, config={"every": True} | own, scales=SCALES,
            own=["crit.out_layers.?.weight"], unused=["*.linear3.*"], inert=["*.linear3.*", "*gate.*"],
        )  # fmt: skip


if __name__ == "__main__":
    main()
