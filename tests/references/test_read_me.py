"""Read-ME: experts that were cut out of a dense decoder give what it gives with its neurons masked, and the router's bundle runs first."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from causal_lm import filled, tokens
from fill import Array, fill
from safetensors.numpy import save_file
from torch import nn

import lamina

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "specs" / "language" / "read_me.yaml"
LAYERS, EXPERTS, NEURONS, COMMON = 2, 3, 48, 8
IDS = tokens(2, 9, 96)


def masks() -> dict[str, Array]:
    """Eight neurons in common, and sixteen for each of three experts, some of them for two."""
    found: dict[str, Array] = {}
    for layer in range(LAYERS):
        order = np.random.default_rng(layer).permutation(NEURONS)
        experts = np.zeros((EXPERTS, NEURONS), bool)
        for i in range(EXPERTS):
            experts[i, order[COMMON + 12 * i : COMMON + 12 * i + 16]] = True
        residual = np.zeros(NEURONS, bool)
        residual[order[:COMMON]] = True
        found |= {f"{layer}.experts": experts, f"{layer}.residual": residual}
    return found


class Masked(nn.Module):
    """A network whose neurons are masked by each token's expert."""

    def __init__(self, dense: Any, experts: Array, residual: Array) -> None:
        super().__init__()
        self.dense, self.masks = dense, torch.from_numpy((experts | residual).astype(np.float32))
        self.choice = torch.zeros(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dense = self.dense
        neurons = dense.act_fn(dense.gate_proj(x)) * dense.up_proj(x)
        return dense.down_proj(neurons * self.masks[self.choice])  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def dense() -> Any:
    options = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": NEURONS}
    rope = {"rope_type": "default", "rope_theta": 1e4}
    return filled(transformers.LlamaForCausalLM(transformers.LlamaConfig(**options, rms_norm_eps=1e-5, rope_parameters=rope)))


def compiled(variant: str, checkpoint: dict[str, Array], folder: Path, **config: Any) -> lamina.Session:
    save_file(checkpoint, folder / f"{variant}.safetensors")
    spec = lamina.load(SPEC, variant, small=True, **config).model_copy(update={"tokenizer": None})
    return lamina.Session(lamina.compile(spec, folder / variant, weights=folder / f"{variant}.safetensors"))


@pytest.mark.parametrize("apart", [False, True])
def test_experts_are_the_masked_network(apart: bool, dense: Any, tmp_path: Path) -> None:
    state = {key: value.numpy() for key, value in dense.state_dict().items()}
    experts = runpy.run_path(str(ROOT / "docs" / "examples" / "extract_experts.py"))["extracted"](state, masks(), apart)
    sizes: dict[str, Any] = {"expert": 16, "common": 8} if apart else {"expert": 24}
    ours = compiled("llama-2-7b-decoder", experts, tmp_path, every=True, **sizes)
    choice = np.random.default_rng(1).integers(0, EXPERTS, IDS.shape)
    networks = [layer.mlp for layer in dense.model.layers]
    for i, (layer, network) in enumerate(zip(dense.model.layers, networks, strict=True)):
        layer.mlp = Masked(network, masks()[f"{i}.experts"], masks()[f"{i}.residual"])
        layer.mlp.choice = torch.from_numpy(choice)
    with torch.no_grad():
        want = dense(torch.from_numpy(IDS)).logits.numpy()
    for layer, network in zip(dense.model.layers, networks, strict=True):
        layer.mlp = network
    np.testing.assert_allclose(ours(input_ids=IDS, given=choice)["logits"], want, atol=1e-5 * np.abs(want).max())


def test_the_router_may_run_first_and_piece_by_piece(tmp_path: Path) -> None:
    """Then the decoder, with its choices, gives what both give in one bundle."""
    weights = {key: fill(key, tuple(v.shape)) for key, v in lamina.to_torch(lamina.load(SPEC, small=True)).state_dict().items()}
    parts = [compiled(f"llama-2-7b{part}", _of(weights, part), tmp_path, every=True) for part in ("", "-router", "-decoder")]
    whole, router, decoder = parts
    want = whole(input_ids=IDS)["logits"]
    stream = router.stream()
    choice = np.concatenate([stream(input_ids=IDS[:, a:b])["choice"] for a, b in itertools.pairwise([0, 1, 4, 9])], axis=1)
    assert len(set(choice.ravel())) > 1
    np.testing.assert_array_equal(choice, router(input_ids=IDS)["choice"])
    stream = decoder.stream()
    pieces = [stream(input_ids=IDS[:, a:b], given=choice[:, a:b])["logits"] for a, b in itertools.pairwise([0, 5, 6, 9])]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), want, atol=1e-5 * np.abs(want).max())


def _of(weights: dict[str, Array], part: str) -> dict[str, Array]:
    return {key: value for key, value in weights.items() if not part or key.startswith("router.") == (part == "-router")}
