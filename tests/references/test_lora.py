"""LoRA as a spec: PEFT's adapters beside PEFT's outputs, and every variant beside transformers with the products added to its weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
import transformers
from adapting import Config, State, error, linears, low_rank, opened, variants
from evidence import Record

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "lora.yaml"
FOLDER = Path(__file__).parent / "expected" / "peft"
PEFT: dict[str, dict[str, Any]] = {
    "queries": {"rank": 4, "adapted": ["q"]},
    "all": {"rank": 3, "alpha": 6, "stabilised": True, "adapted": ["q", "k", "v", "o", "gate", "up", "down"]},
}
EACH_ITS_OWN = """\
lamina: 1
model: patterns
base: llama
use: [adapters]
adapt:
  layers.0.mlp.up_proj: "lora(x, step, rank=5, alpha=3.0)"
  "layers.{i}.mlp.up_proj | layers.{i}.self_attn.v_proj": "lora(x, step, rank=2, alpha=8.0)"
weights:
  rename:
    "base_model.model.model.*.lora_A.weight": "*.adapter.lora.a.weight"
    "base_model.model.model.*.lora_B.weight": "*.adapter.lora.b.weight"
"""


def of_peft(spec: lamina.ModelSpec, name: str, folder: Path) -> float:
    """How far the last logits are from PEFT's with its adapter of this name."""
    session = opened(spec, safetensors.numpy.load_file(FOLDER / name / "adapter_model.safetensors"), folder)
    with np.load(FOLDER / "logits.npz") as expected:
        ids, wanted = expected["ids"], expected[name]
    logits = session(input_ids=ids, attention_mask=np.ones_like(ids))["logits"]
    return float(np.abs(logits - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("name", PEFT)
def test_peft(name: str, tmp_path: Path, record: Record) -> None:
    found = of_peft(lamina.load(SPEC, small=True, **PEFT[name]), name, tmp_path)
    assert found < 1e-5
    record(SPEC, "smollm2-135m", "parity", f"{found:.0e} of PEFT 0.21.2, small")


def test_layers_with_ranks_of_their_own(tmp_path: Path) -> None:
    """PEFT's `rank_pattern` and `alpha_pattern` are rules of `adapt`."""
    (tmp_path / "patterns.yaml").write_text(EACH_ITS_OWN)
    assert of_peft(lamina.load(tmp_path / "patterns.yaml", small=True), "patterns", tmp_path) < 1e-5


def merged(model: Any, config: Config) -> State:
    """Add to the weights what the adapter's products are."""
    adapter: dict[str, Any] = {}
    scale = config["alpha"] / (math.sqrt(config["rank"]) if config["stabilised"] else config["rank"])
    for at, layer in linears(model, config["adapted"]).items():
        pair = low_rank(layer, config["rank"], at)
        first, second = (torch.from_numpy(pair[f"{at}.lora_{part}.weight"]) for part in "AB")
        layer.weight += scale * second @ first
        adapter |= pair
    return adapter


@pytest.mark.parametrize("variant", variants(SPEC))
def test_every_variant(variant: str, tmp_path: Path, record: Record) -> None:
    found = error(SPEC, variant, merged, tmp_path)
    record(SPEC, variant, "parity", f"{found:.0e} of transformers {transformers.__version__} with the products added to its weights, small")
