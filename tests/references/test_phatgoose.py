"""PHATGOOSE by the paper's formulas: in transformers' T5, with one adapter alone, and in its two parts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from cases import references
from evidence import Record
from fill import fill
from safetensors.numpy import save_file
from test_t5 import KEYS, MASK, SOURCE, TARGET, error, reference

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import parameter_count
from lamina.runtime import Session

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "phatgoose.yaml"
CASE = next(case for case in references() if str(case) == "phatgoose-t0-xl")


class Adapters:
    """All of a linear layer's, and their gates: under the authors' keys, and what they add to the layer's product."""

    def __init__(self, layer: torch.nn.Linear, path: str, config: Mapping[str, Any]) -> None:
        self.k, self.scale = config["active"], config["alpha"] / config["rank"]
        wide, out, rank = layer.in_features, layer.out_features, config["rank"]
        shapes = {"router.expert_embeddings": (wide,), "expert_lora.layer1": (wide, rank), "expert_lora.layer2": (rank, out)}
        keys = [[f"{path}._addons.{name}__{e}" for e in range(config["experts"])] for name in shapes]
        self.state = {key: fill(key, shape) for each, shape in zip(keys, shapes.values(), strict=True) for key in each}
        self.gates, self.first, self.second = (torch.from_numpy(np.stack([self.state[key] for key in each])) for each in keys)

    def __call__(self, layer: Any, given: tuple[torch.Tensor], made: torch.Tensor) -> torch.Tensor:
        """Of the k best, each as much as a softmax among them says."""
        tokens, gates = (
            (v - v.mean(-1, keepdim=True)) / (v.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() for v in (*given, self.gates)
        )
        scores = tokens @ gates.T / tokens.shape[-1] ** 0.5
        best = scores.topk(self.k)
        weights = torch.full_like(scores, -torch.inf).scatter(-1, best.indices, best.values).softmax(-1)
        each = torch.einsum("nti,eir,ero->nteo", *given, self.first, self.second)
        added: torch.Tensor = made + self.scale * (weights[..., None] * each).sum(-2)
        return added


def opened(folder: Path, state: Mapping[str, Any], **options: Any) -> Session:
    save_file({key: np.ascontiguousarray(value) for key, value in state.items()}, folder / "weights.safetensors")
    spec = lamina.load(SPEC, small=True, **{"every": True, **options}).model_copy(update={"tokenizer": None})
    return Session(lamina.compile(spec, folder / spec.model, weights=folder / "weights.safetensors"))


def linears(model: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    return {name: part for name, part in model.named_modules() if isinstance(part, torch.nn.Linear) and name != "lm_head"}


def base(config: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    model = reference(config, "gated-gelu")
    return model, {name: weight.detach().numpy().copy() for name, weight in model.named_parameters()}


def logits(model: Any) -> torch.Tensor:
    given = {"input_ids": SOURCE, "attention_mask": MASK, "decoder_input_ids": TARGET}
    with torch.no_grad():
        found: torch.Tensor = model(**{k: torch.from_numpy(v) for k, v in given.items()}).logits
    return found


@pytest.mark.parametrize("options", [{"sum_eps": 0.0}, {"sum_eps": 0.0, "experts": 7, "active": 3, "alpha": 5.0}], ids=["two", "three"])
def test_formulas(options: dict[str, Any], tmp_path: Path) -> None:
    config = elaborate(lamina.load(SPEC, small=True, variant="t0-xl", **options)).config
    model, state = base(config)
    for path, linear in linears(model).items():
        adapters = Adapters(linear, path, config)
        state |= adapters.state
        linear.register_forward_hook(adapters)
    found = opened(tmp_path, state, variant="t0-xl", **options)(input_ids=SOURCE, attention_mask=MASK, decoder_input_ids=TARGET)
    assert error(found["logits"], logits(model)) < 2e-5


def test_one_adapter_is_a_plain_one(tmp_path: Path) -> None:
    """Its weight is 1 whatever its gate: what the product of its matrices, added to the base's, gives."""
    config = elaborate(lamina.load(SPEC, small=True, variant="t0-xl", experts=1)).config
    model, state = base(config)
    before = logits(model)
    for path, linear in linears(model).items():
        adapters = Adapters(linear, path, config)
        state |= adapters.state
        with torch.no_grad():
            linear.weight += adapters.scale * (adapters.first[0] @ adapters.second[0]).T
    found = opened(tmp_path, state, variant="t0-xl", experts=1)(input_ids=SOURCE, attention_mask=MASK, decoder_input_ids=TARGET)
    assert error(found["logits"], logits(model)) < 2e-5
    assert error(found["logits"], before) > 1e-2


def test_parts(tmp_path: Path, record: Record) -> None:
    """The encoder, and the decoder piece by piece, give what the authors' whole does, and only they load their adapters."""
    options, ((inputs, _), (wanted, _)) = CASE.config, (CASE.inputs(), CASE.outputs())
    parts = {}
    for part in ("encoder", "decoder"):
        (tmp_path / part).mkdir()
        parts[part] = opened(tmp_path / part, CASE.checkpoint(), **{**options, "variant": f"t0-xl-{part}"})
    made = parts["encoder"](input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    stream, source = parts["decoder"].stream(), {"attention_mask": inputs["attention_mask"], "keys": made["keys"], "values": made["values"]}
    steps = itertools.pairwise((0, 7, 8, 9, 30))
    found = np.concatenate([stream(**source, decoder_input_ids=inputs["decoder_input_ids"][:, a:b])["logits"] for a, b in steps], axis=1)
    worst = error(found, torch.from_numpy(wanted["logits"]))
    assert worst < 2e-5
    for part in parts:
        record(SPEC, f"t0-xl-{part}", "parity", f"{worst:.0e} of {CASE.reference}, small")


def test_sizes() -> None:
    """Those of T5-XL, and beside each of its linears [out, in] `16 * (in + out) + in` for each adapter."""
    found = elaborate(lamina.load(SPEC, variant="t0-xl"))
    sizes = {theirs: found.config[ours] for ours, theirs in KEYS.items()}
    with torch.device("meta"):
        model = transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes, feed_forward_proj="gated-gelu"))
    whole = model.num_parameters() + model.lm_head.weight.numel()  # which transformers ties until it is given
    assert whole == 2849757184
    adapters = sum(16 * (part.in_features + part.out_features) + part.in_features for part in linears(model).values())
    assert parameter_count(found.graph) == whole + 36 * adapters
