"""Relaxed recursive decoders against transformers' Llama and Gemma, whose layers hold each loop's matrices multiplied out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from causal_lm import filled, tokens, worst
from evidence import Record
from fill import fill
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import parameter_count
from lamina.runtime import Session
from lamina.schema.spec import ModelSpec

Array = np.ndarray[Any, Any]
Weights = dict[str, Array]
SPEC = Path(__file__).parents[2] / "specs" / "language" / "relaxed_recursive.yaml"
KEYS = {
    "vocabulary": "vocab_size", "dim": "hidden_size", "heads": "num_attention_heads", "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim", "hidden": "intermediate_size", "context": "max_position_embeddings", "eps": "rms_norm_eps",
}  # fmt: skip
NORMS = ("input_layernorm", "post_attention_layernorm")


def reference(config: Mapping[str, Any]) -> Any:
    """The model of transformers with as many layers as all loops together."""
    kind = "Gemma" if config["centred"] else "Llama"
    options = {theirs: config[ours] for ours, theirs in KEYS.items()} | {"num_hidden_layers": config["loops"] * config["block"]}
    rope = {"rope_type": "default", "rope_theta": config["rope_base"]}
    made = getattr(transformers, f"{kind}Config")(**options, tie_word_embeddings=True, rope_parameters=rope, attn_implementation="eager")
    return getattr(transformers, f"{kind}ForCausalLM")(made).eval()


def drawn(spec: ModelSpec) -> Weights:
    """Weights of ours. What a loop adds is about as large as what is shared."""
    return {p.name: fill(p.name, tuple(int(size) for size in p.shape)) for p in elaborate(spec).graph.parameters()}


def unrolled(ours: Weights, config: Mapping[str, Any]) -> Weights:
    """W + B A for each layer of each loop, under transformers' keys."""
    found = {"model.embed_tokens.weight": ours["embed_tokens.weight"], "model.norm.weight": ours["norm.weight"]}
    for loop in range(config["loops"]):
        for layer in range(config["block"]):
            to, shared, own = f"model.layers.{loop * config['block'] + layer}.", f"layers.{layer}.shared.", f"loops.{loop}.layers.{layer}."
            for key in (key.removeprefix(shared) for key in ours if key.startswith(shared)):
                a, b = (ours.get(f"{own}{key.removesuffix('weight')}lora_{name}.weight") for name in "ab")
                found[to + key] = ours[shared + key] + (0 if a is None or b is None else b @ a)
            found |= {f"{to}{n}.weight": ours[f"{own}{n}.own.weight"] for n in NORMS if f"{own}{n}.own.weight" in ours}
    return found


def session(spec: ModelSpec, weights: Weights, folder: Path) -> Session:
    save_file({k: np.ascontiguousarray(v) for k, v in weights.items()}, folder / "ours.safetensors")
    spec = spec.model_copy(update={"tokenizer": None})
    return Session(lamina.compile(spec, folder / "bundle", weights=folder / "ours.safetensors"))


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_logits(variant: str, tmp_path: Path, record: Record) -> None:
    rank = min(elaborate(lamina.load(SPEC, variant=variant, small=True)).config["rank"], 3)
    spec = lamina.load(SPEC, variant=variant, small=True, every=True, rank=rank)
    config = elaborate(spec).config
    weights, model = drawn(spec), reference(config)
    loaded = model.load_state_dict({k: torch.from_numpy(v) for k, v in unrolled(weights, config).items()}, strict=False)
    assert loaded.missing_keys == ["lm_head.weight"]
    assert loaded.unexpected_keys == []
    error = worst(model, session(spec, weights, tmp_path), tokens(3, 12, 96), np.array([0, 4, 7]))
    assert error < 2e-5
    record(SPEC, variant, "parity", f"{error:.0e} of transformers {transformers.__version__}, small")


def converted(theirs: Weights, config: Mapping[str, Any]) -> Weights:
    """The paper's conversion: the loops' mean is shared, and the singular value decomposition of what it lacks is a loop's own."""
    found = {"embed_tokens.weight": theirs["model.embed_tokens.weight"], "norm.weight": theirs["model.norm.weight"]}
    for layer in range(config["block"]):
        prefixes = [f"model.layers.{loop * config['block'] + layer}." for loop in range(config["loops"])]
        for key in (key.removeprefix(prefixes[0]) for key in theirs if key.startswith(prefixes[0])):
            all_loops = [theirs[prefix + key] for prefix in prefixes]
            if all_loops[0].ndim == 1:
                found |= {f"loops.{i}.layers.{layer}.{key.replace('.weight', '.own.weight')}": w for i, w in enumerate(all_loops)}
                continue
            found[f"layers.{layer}.shared.{key}"] = shared = np.mean(all_loops, axis=0)
            for i, w in enumerate(all_loops):
                u, s, v = np.linalg.svd(w - shared, full_matrices=False)
                rank, own = config["rank"], f"loops.{i}.layers.{layer}.{key.removesuffix('weight')}"
                width = max(rank - len(s), 0)
                found[f"{own}lora_b.weight"] = np.pad((u * s)[:, :rank], ((0, 0), (0, width)))
                found[f"{own}lora_a.weight"] = np.pad(v[:rank], ((0, width), (0, 0)))
    return found


@pytest.mark.parametrize(("rank", "exact"), [(32, True), (4, False)])
def test_at_full_rank_a_converted_model_is_the_original(rank: int, exact: bool, tmp_path: Path) -> None:
    spec = lamina.load(SPEC, small=True, every=True, rank=rank, shared_norms=False)
    config = elaborate(spec).config
    model = filled(reference(config))
    weights = converted({k: v.numpy() for k, v in model.state_dict().items() if k != "lm_head.weight"}, config)
    error = worst(model, session(spec, weights, tmp_path), tokens(3, 12, 96), np.array([0, 4, 7]))
    assert (error < 2e-5) is exact


def test_what_is_shared_is_stored_once(tmp_path: Path) -> None:
    spec = lamina.load(SPEC, small=True, dim=64, hidden=256)
    weights = drawn(spec)
    ours = session(spec, weights, tmp_path)
    stored = (tmp_path / "bundle" / "weights.bin").stat().st_size
    assert ours.manifest.parameters == sum(v.size for v in weights.values())
    assert stored < 4 * 1.2 * ours.manifest.parameters


def test_the_recursive_gemma_is_the_paper_s() -> None:
    """Its abstract calls it a Recursive Gemma 1B; embeddings are not counted."""
    found = elaborate(lamina.load(SPEC, variant="gemma-2b"))
    assert round((parameter_count(found.graph) - 256000 * 2048) / 1e9, 1) == 1.0
