"""Z-code M3 against transformers' NLLB-MoE, whose wiring it has, with the likeliest expert alone; with fewer experts, and with more."""

from __future__ import annotations

import itertools
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from causal_lm import filled, tokens
from evidence import Record
from fill import Array, fill
from safetensors.numpy import save_file
from torch import nn

import lamina
from lamina.compiler.elaborate import elaborate

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "specs" / "language" / "zcode_m3.yaml"
EXPERTS = 4
SOURCE, TARGET = tokens(2, 9, 94) + 2, tokens(2, 7, 94) + 2
MASK = (np.arange(9) < np.array([[9], [6]])).astype(np.int64)
KEPT = {f"model.{side}.layers.1.ffn": kept for side, kept in (("encoder", [1, 3]), ("decoder", [2, 0]))}


class TopOne(nn.Module):
    """p(x) * E(x) of the likeliest expert, in place of theirs of two; `barred` experts have the logit -inf."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.router, self.experts = theirs.router, theirs.experts
        self.barred: list[int] = []

    def forward(self, x: torch.Tensor, _: Any = None) -> torch.Tensor:
        logits = self.router.classifier(x)
        logits[..., self.barred] = -torch.inf
        best, choice = logits.softmax(-1).max(-1, keepdim=True)
        every = torch.stack([self.experts[f"expert_{i}"](x) for i in range(self.router.classifier.out_features)], dim=-2)
        return best * every.take_along_dim(choice[..., None], dim=-2)[..., 0, :]


@pytest.fixture(scope="module")
def model() -> Any:
    return made(EXPERTS)


def made(experts: int) -> Any:
    """Transformers', whose tokens of padding have the number 1."""
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in _SIDE.items()}
    config = transformers.NllbMoeConfig(
        vocab_size=96, d_model=32, num_experts=experts, router_bias=False, scale_embedding=True, pad_token_id=1, activation_function="relu",
        tie_word_embeddings=True, attn_implementation="eager", **sides,
    )  # fmt: skip
    found = filled(transformers.NllbMoeForConditionalGeneration(config))
    for stack in (found.model.encoder, found.model.decoder):
        stack.layers[1].ffn = TopOne(stack.layers[1].ffn)
    return found.eval()


_SIDE = {"layers": 2, "attention_heads": 4, "ffn_dim": 48, "sparse_step": 2, "layerdrop": 0.0}


def theirs(model: Any, barred: dict[str, list[int]]) -> Array:
    for side in ("encoder", "decoder"):
        getattr(model.model, side).layers[1].ffn.barred = barred.get(side, [])
    ids = torch.from_numpy(np.where(MASK, SOURCE, 1))
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=torch.from_numpy(MASK), decoder_input_ids=torch.from_numpy(TARGET), use_cache=False)
    return found.logits.numpy()  # type: ignore[no-any-return]


def state(model: Any) -> dict[str, Array]:
    return {key: value.numpy() for key, value in model.state_dict().items() if "embed_tokens" not in key and key != "lm_head.weight"}


def session(checkpoint: dict[str, Array], folder: Path, variant: str = "10b", **config: Any) -> lamina.Session:
    save_file({key: np.ascontiguousarray(value) for key, value in checkpoint.items()}, folder / "weights.safetensors")
    spec = lamina.load(SPEC, variant, small=True, every=True, **config)
    return lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "weights.safetensors"))


def error(ours: lamina.Session, want: Array) -> float:
    """In one call, and a few tokens at a time."""
    source = {"input_ids": SOURCE, "attention_mask": MASK}
    stream = ours.stream()
    pieces = [stream(**source, decoder_input_ids=TARGET[:, a:b])["logits"] for a, b in itertools.pairwise([0, 1, 4, 5, 7])]
    found = (ours(**source, decoder_input_ids=TARGET)["logits"], np.concatenate(pieces, axis=1))
    return max(float(np.abs(got - want).max() / np.abs(want).max()) for got in found)


@pytest.mark.parametrize("variant", ["10b", "5b"])
def test_logits(variant: str, model: Any, tmp_path: Path, record: Record) -> None:
    worst = error(session(state(model), tmp_path, variant), theirs(model, {}))
    assert worst < 2e-5
    record(SPEC, variant, "parity", f"{worst:.0e} of NLLB-MoE in transformers {transformers.__version__}, with one expert a token, small")


def test_dropped_experts_are_those_of_a_logit_of_minus_infinity(model: Any, tmp_path: Path) -> None:
    fewer = runpy.run_path(str(ROOT / "docs" / "examples" / "drop_experts.py"))["dropped"](state(model), KEPT)
    ours = session(fewer, tmp_path, experts=2)
    want = theirs(model, {"encoder": [0, 2], "decoder": [1, 3]})
    assert error(ours, want) < 2e-5
    assert error(ours, theirs(model, {})) > 1e-2
    expert, router = 2 * 32 * 48 + 48 + 32, 32
    whole = elaborate(lamina.load(SPEC, small=True)).graph
    assert sum(p.name.count(".experts.") for p in whole.parameters()) == 2 * EXPERTS * 4
    assert ours.manifest.parameters == sum(value.size for value in state(model).values()) - 2 * 2 * (expert + router)


@pytest.fixture(scope="module")
def other() -> dict[str, Array]:
    """Another checkpoint of the same sizes."""
    return {key: fill(f"other.{key}", value.shape) for key, value in state(made(EXPERTS)).items()}


def joining() -> Any:
    return runpy.run_path(str(ROOT / "docs" / "examples" / "join_experts.py"))["joined"]


@pytest.mark.parametrize("mean", [False, True])
def test_experts_of_two_checkpoints_stand_side_by_side(mean: bool, model: Any, other: dict[str, Array], tmp_path: Path) -> None:
    larger = made(2 * EXPERTS)
    with torch.no_grad():
        for name, parameter in larger.named_parameters():
            expert = re.search(r"(?<=expert_)\d+", name)
            if expert and int(expert[0]) >= EXPERTS:
                parameter.copy_(torch.from_numpy(other[name.replace(f"expert_{expert[0]}", f"expert_{int(expert[0]) - EXPERTS}")]))
            elif name.endswith("classifier.weight"):
                parameter.copy_(torch.cat([model.get_parameter(name), torch.from_numpy(other[name])]))
            elif not expert:
                own = model.get_parameter(name)
                parameter.copy_((own + torch.from_numpy(other[name])) / 2 if mean else own)
    ours = session(joining()(state(model), other, mean=mean), tmp_path, experts=2 * EXPERTS)
    assert error(ours, theirs(larger, {})) < 2e-5
    assert error(ours, theirs(larger, {side: [*range(EXPERTS)] for side in ("encoder", "decoder")})) > 1e-2
    barred = theirs(larger, {side: [*range(EXPERTS, 2 * EXPERTS)] for side in ("encoder", "decoder")})
    assert error(ours, barred) > 1e-2
    assert np.allclose(barred, theirs(model, {}), atol=1e-5) != mean


def test_experts_of_checkpoints_that_differ_are_not_joined(other: dict[str, Array]) -> None:
    with pytest.raises(SystemExit, match=r"only one of the checkpoints has model\.decoder\.layer_norm\.bias"):
        joining()(other, {key: value for key, value in other.items() if key != "model.decoder.layer_norm.bias"})


def test_an_expert_that_is_not_there_cannot_be_kept(model: Any) -> None:
    dropped = runpy.run_path(str(ROOT / "docs" / "examples" / "drop_experts.py"))["dropped"]
    with pytest.raises(SystemExit, match=r"the checkpoint has no model\.encoder\.layers\.1\.ffn\.experts\.9"):
        dropped(state(model), {"model.encoder.layers.1.ffn": [0, 9]})
