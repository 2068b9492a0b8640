"""Write adapters of PEFT's making for a small Llama, and what PEFT computes with them. Run by hand:

pip install --no-deps peft accelerate psutil && python tests/references/make_peft.py
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fill import fill
from peft import LoraConfig, get_peft_model
from test_llama import SPEC, reference

import lamina
from lamina.compiler.elaborate import elaborate

OUT = Path(__file__).parent / "expected" / "peft"
IDS = np.random.default_rng(0).integers(0, 96, (2, 7))
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS: dict[str, dict[str, Any]] = {
    "queries": {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj"]},
    "all": {"r": 3, "lora_alpha": 6, "target_modules": ALL, "use_rslora": True},
    "patterns": {
        "r": 2, "lora_alpha": 8, "target_modules": ["v_proj", "up_proj"],
        "rank_pattern": {"layers.0.mlp.up_proj": 5}, "alpha_pattern": {"layers.0.mlp.up_proj": 3},
    },
}  # fmt: skip


def main() -> None:
    config = elaborate(lamina.load(SPEC, small=True)).config
    shutil.rmtree(OUT, ignore_errors=True)
    found = {}
    for name, options in ADAPTERS.items():
        model = get_peft_model(reference(config), LoraConfig(**options))
        for key, value in model.named_parameters():
            if "lora_" in key:
                value.data = torch.from_numpy(np.ascontiguousarray(fill(f"{name}.{key}", tuple(value.shape))))
        model.save_pretrained(OUT / name)
        (OUT / name / "README.md").unlink(missing_ok=True)
        with torch.no_grad():
            found[name] = model.eval()(torch.from_numpy(IDS)).logits[:, -1:].numpy()
        found[f"{name}.merged"] = merged(model)
    np.savez_compressed(OUT / "logits.npz", ids=IDS, **found)


def merged(model: Any) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        logits: np.ndarray[Any, Any] = model.merge_and_unload().eval()(torch.from_numpy(IDS)).logits[:, -1:].numpy()
    return logits


if __name__ == "__main__":
    main()
