"""Self-contrast by its authors, github.com/DavidFanzz/SCMoE, of which `--source` is a checkout.

Needs `pip install torch transformers==4.40.0`. Their Mixtral stands in the place of transformers' own, as they ask.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fill import Draw
from making import Tensors, write

EXPECTED = Path(__file__).parent / "expected" / "scmoe_tokens.json"
SIZES = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "num_local_experts": 4, "max_position_embeddings": 64, "rope_theta": 1e6, "rms_norm_eps": 1e-5,
    "sliding_window": None, "attn_implementation": "eager",
}  # fmt: skip
WEAK = {"first": [0], "third": [2]}
CONTRASTS = {"first": [(0.1, 0.5), (0.1, 0.0)], "third": [(0.1, 0.5), (0.5, 2.0)]}  # alpha and beta


def theirs(name: str, path: Path) -> Any:
    """A file of theirs as a module of this name."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tokens(model: Any, decoding: Any, prompts: torch.Tensor, **options: Any) -> list[list[int]]:
    """What their search goes on with."""
    found = decoding.scmoe(
        model, 1.0, 1.0, SimpleNamespace(eos_token_id=None, pad_token_id=0), prompts, torch.ones_like(prompts), 12, **options
    )
    new: list[list[int]] = found[:, prompts.shape[1] :].tolist()
    return new


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    source = Path(parser.parse_args().source)
    folder = source / "modeling_models" / "Mixtral"
    config = theirs("transformers.models.mixtral.configuration_mixtral", folder / "configuration_mixtral.py").MixtralConfig(**SIZES)
    mixtral = theirs("transformers.models.mixtral.modeling_mixtral", folder / "modeling_mixtral.py")
    decoding = theirs("moe_utils", source / "decodingmethod" / "moe_utils.py")
    model = mixtral.MixtralForCausalLM(config).eval()
    shapes = [(1, 1), (2, 9), (3, 24)]
    points = [{"input_ids": Draw(shape, "int64", 0, 96), "attention_mask": Draw(shape, "int64", 1, 2)} for shape in shapes]
    found = []
    for variant, weak in WEAK.items():

        def run(model: Any, inputs: Tensors, weak: list[int] = weak) -> Tensors:
            """Every token is there."""
            readings = {"chosen": [0, 1], "other": weak}
            return {k: model(**inputs, routed_tok=ranks, num_experts_per_tok=len(ranks)).logits[:, -1:] for k, ranks in readings.items()}

        write(
            "language/scmoe", variant, model, points, run, reference="github.com/DavidFanzz/SCMoE", variant=variant, small=True,
            config={"apart": True},
        )  # fmt: skip
        prompts = torch.from_numpy(Draw((3, 7), "int64", 0, 96).array("prompts"))
        for alpha, beta in CONTRASTS[variant]:
            new = tokens(model, decoding, prompts, alpha=alpha, beta=beta, student_routed_tok=weak, student_num_experts_per_tok=len(weak))
            found.append({"variant": variant, "alpha": alpha, "beta": beta, "prompts": prompts.tolist(), "tokens": new})
    EXPECTED.write_text(json.dumps(found, separators=(",", ":")).replace('{"variant"', '\n{"variant"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
