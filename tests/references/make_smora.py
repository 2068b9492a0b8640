"""Write what the authors' SMoRA layers compute in a small Llama of transformers. Run by hand, given a checkout of
github.com/StyxXuan/smora:

pip install peft transformers && python tests/references/make_smora.py --source PATH

Their layer is a file of their copy of PEFT. Its kernels need TVM, and are not run: it has a dense form of the same product.
"""

from __future__ import annotations

import importlib.util
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write
from test_llama import reference

import lamina
from lamina.compiler.elaborate import elaborate

SPEC, REFERENCE = "adapter/smora", "github.com/StyxXuan/smora"
FILE = Path(__file__).parents[2] / "specs" / f"{SPEC}.yaml"


def authors_layer(source: Path) -> Any:
    """Their SRMoLELinear, without the kernels."""
    package = ModuleType("srmole")
    package.__path__ = []
    sys.modules["srmole"] = package
    for name, members in {"topk": "TopK_custom", "idx_matmul_A": "IndexedMatMul_A", "idx_matmul_B": "IndexedMatMul_B"}.items():
        sys.modules[f"srmole.{name}"] = module = ModuleType(f"srmole.{name}")
        setattr(module, members, None)
    path = source / "packages" / "peft" / "src" / "peft" / "tuners" / "srmole" / "layer.py"
    spec = importlib.util.spec_from_file_location("srmole.layer", path)
    assert spec is not None
    assert spec.loader is not None
    layer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(layer)
    return layer.SRMoLELinear


def adapted(layer: Any, config: Any) -> torch.nn.Module:
    """A decoder of transformers with theirs around each linear layer."""
    model: torch.nn.Module = reference(config)
    for name in [n for n, part in model.named_modules() if isinstance(part, torch.nn.Linear) and ".layers." in n]:
        parent, _, last = name.rpartition(".")
        sizes = {"r": config["rank"], "activate_r": config["active"], "rank_partition": config["partition"], "lora_alpha": config["alpha"]}
        setattr(model.get_submodule(parent), last, layer(model.get_submodule(name), "default", **sizes, dense_compute=True))
    return model


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(**inputs).logits}


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    layer = authors_layer(Path(parser.parse_args().source))
    scales = [Scale("*lora_router*", 0, 0.6), Scale("*lora_biases*", 0, 0.2), Scale("*lora_A*", 0, 0.1), Scale("*lora_B*", 0, 0.1)]
    shapes = [(2, 9), (3, 1)]
    points = [{"input_ids": Draw(s, "int64", 0, 96), "attention_mask": Draw(s, "int64", 1, 2)} for s in shapes]
    cases: dict[str, tuple[str, dict[str, int]]] = {v: (v, {}) for v in lamina.load(FILE).variants}
    cases |= {"blocks": ("llama-2-7b", {"rank": 12, "active": 6, "partition": 3}), "all": ("llama-2-7b", {"active": 6})}
    for name, (variant, more) in cases.items():
        settings = {"every": True, **more}
        model = adapted(layer, elaborate(lamina.load(FILE, variant=variant, small=True, **settings)).config)

        write(
            SPEC, name, model, points, run, reference=REFERENCE, variant=variant, small=True, config=settings,
            scales=scales, unused=["*lora_biases*"],
        )  # fmt: skip
