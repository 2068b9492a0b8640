"""Routing rules of `specs/blocks/routing.yaml` and their dispatch: exactly k experts, capacities, order, gradients, ties and NaN."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch

import lamina

Array = np.ndarray[Any, Any]
EXPERTS, WIDTH = 6, 8
HEAD = """\
lamina: 1
model: routed
use: [routing]
inputs: {{x: "float32[T, 8]", logits: "float32[T, 6]"}}
dims: {{T: {{min: 1, opt: 16, max: 5000}}}}
blocks:
  expert: {{body: [{{linear: 12}}, gelu, {{linear: 8}}]}}
body:
{body}
outputs: {{{outputs}}}
"""
TOKENS = "y = moe(x, weight, choice, expert=expert, count=6)"
CHOSEN = {"y": "float32[T, 8]", "weight": "float32[T, 2]", "choice": "int64[T, 2]"}
EVERY = {"y": "float32[T, 8]", "weight": "float32[T, 6]", "choice": "int64[T, 6]"}
RULES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "token": ("weight, choice = token_choice(logits, 2)", CHOSEN),
    "normalized": ("weight, choice = token_choice(logits, 2, normalize=True, scale=2.5)", CHOSEN),
    "sigmoid": ("weight, choice = token_choice(logits, 2, gate=sigmoid)", CHOSEN),
    "chosen": ("weight, choice = chosen_softmax(logits, 2)", CHOSEN),
    "biased": ("weight, choice = biased_choice(sigmoid(logits), sigmoid(logits) + cast(arange(6), 'float32') / 6, k=2)", CHOSEN),
    "grouped": ("weight, choice = biased_choice(sigmoid(logits), within_groups(sigmoid(logits), groups=3, kept=1), k=2)", CHOSEN),
    "top_p": ("weight, choice = top_p_choice(softmax(logits, dim=-1), p=0.6, most=6)", EVERY),
    "threshold": ("weight, choice = threshold_choice(sigmoid(logits), threshold=0.6)", EVERY),
}


def spec(folder: Path, steps: list[str], outputs: Mapping[str, str]) -> lamina.ModelSpec:
    body = "\n".join(f"  - {step}" for step in steps)
    path = folder / "routed.yaml"
    path.write_text(HEAD.format(body=body, outputs=", ".join(f'{k}: "{v}"' for k, v in outputs.items())))
    return lamina.load(path)


def routed(folder: Path, rule: str) -> lamina.ModelSpec:
    step, outputs = RULES[rule]
    return spec(folder, [step, TOKENS], outputs)


def session(made: lamina.ModelSpec, folder: Path) -> ort.InferenceSession:
    bundle = lamina.compile(made, folder / "bundle", ["onnx"])
    return ort.InferenceSession(str(bundle / "model.onnx"))


def run(found: ort.InferenceSession, x: Array, logits: Array) -> dict[str, Array]:
    names = [o.name for o in found.get_outputs()]
    return dict(zip(names, found.run(None, {"x": x, "logits": logits}), strict=True))


def drawn(tokens: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((tokens, WIDTH)).astype(np.float32), rng.standard_normal((tokens, EXPERTS)).astype(np.float32)


@pytest.mark.parametrize("rule", RULES)
def test_a_token_is_the_sum_of_the_experts_that_it_chose(rule: str, tmp_path: Path) -> None:
    """By the experts themselves, one at a time, in PyTorch."""
    made = routed(tmp_path, rule)
    x, logits = drawn(40)
    got = run(session(made, tmp_path), x, logits)
    weights = {name: value.detach() for name, value in lamina.to_torch(made).named_parameters()}
    want = torch.zeros(40, WIDTH)
    for number in range(EXPERTS):
        first, last = (torch.nn.Linear(*sizes) for sizes in ((WIDTH, 12), (12, WIDTH)))
        for layer, name in ((first, "linear"), (last, "linear_2")):
            layer.load_state_dict({part: weights[f"moe.{number}.{name}.{part}"] for part in ("weight", "bias")})
        factor = torch.from_numpy(np.where(got["choice"] == number, got["weight"], 0).sum(1, keepdims=True))
        want += factor * last(torch.nn.functional.gelu(first(torch.from_numpy(x))))
    np.testing.assert_allclose(got["y"], want.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("rule", [rule for rule, (_, outputs) in RULES.items() if outputs is CHOSEN])
def test_every_token_has_exactly_k_experts(rule: str, tmp_path: Path) -> None:
    choice = run(session(routed(tmp_path, rule), tmp_path), *drawn(200))["choice"]
    assert ((choice >= 0) & (choice < EXPERTS)).all()
    assert (choice[:, 0] != choice[:, 1]).all()


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_tokens_does_not_matter(rule: str, tmp_path: Path) -> None:
    x, logits = drawn(64)
    order = np.random.default_rng(3).permutation(64)
    found = session(routed(tmp_path, rule), tmp_path)
    first, second = run(found, x, logits), run(found, x[order], logits[order])
    np.testing.assert_array_equal(first["choice"][order], second["choice"])
    np.testing.assert_allclose(first["y"][order], second["y"], atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_gradients_reach_the_chosen_experts_alone(rule: str, tmp_path: Path) -> None:
    module = lamina.to_torch(routed(tmp_path, rule))
    x, logits = (torch.from_numpy(a) for a in drawn(2))
    got = module(x, logits)
    got["y"].square().sum().backward()
    chosen = {int(c) for c, w in zip(got["choice"].flatten(), got["weight"].flatten(), strict=True) if 0 <= c < EXPERTS and w}
    reached = {n for n in range(EXPERTS) if module.get_parameter(f"moe.{n}.linear.weight").grad.abs().sum() > 0}
    assert reached == chosen
    assert 0 < len(chosen) < EXPERTS


def test_of_equal_scores_the_lower_numbers_are_chosen(tmp_path: Path) -> None:
    made = routed(tmp_path, "token")
    x, _ = drawn(3000)
    even = np.zeros((3000, EXPERTS), np.float32)
    want = np.tile([0, 1], (3000, 1))
    np.testing.assert_array_equal(run(session(made, tmp_path), x, even)["choice"], want)
    np.testing.assert_array_equal(lamina.to_torch(made)(torch.from_numpy(x), torch.from_numpy(even))["choice"], want)


@pytest.mark.parametrize("rule", RULES)
def test_nan_scores_spoil_their_token_alone(rule: str, tmp_path: Path) -> None:
    """NaN counts as the largest, so a token whose scores are NaN still has its choices, and they are different ones."""
    made = routed(tmp_path, rule)
    x, logits = drawn(20)
    spoilt = logits.copy()
    spoilt[7] = np.nan
    found = session(made, tmp_path)
    clean, got = run(found, x, logits), run(found, x, spoilt)
    others = np.arange(20) != 7
    np.testing.assert_array_equal(got["y"][others], clean["y"][others])
    assert got["choice"][7].min() >= -1
    assert got["choice"][7].max() < EXPERTS
    if RULES[rule][1] is CHOSEN:
        assert np.isnan(got["y"][7]).all()
        assert len(set(got["choice"][7].tolist())) == 2
    module = lamina.to_torch(made)(torch.from_numpy(x), torch.from_numpy(spoilt))
    np.testing.assert_array_equal(module["choice"].numpy(), got["choice"])
    np.testing.assert_allclose(module["y"].detach().numpy(), got["y"], atol=1e-5)


def test_top_p_keeps_the_expert_that_passes_the_threshold(tmp_path: Path) -> None:
    got = run(session(routed(tmp_path, "top_p"), tmp_path), *drawn(300))
    kept = got["choice"] >= 0
    probabilities = np.where(kept, got["weight"], 0)
    totals, last = probabilities.sum(1), np.take_along_axis(probabilities, kept.sum(1, keepdims=True) - 1, 1)[:, 0]
    assert kept[:, 0].all()
    assert (totals > 0.6).all()
    assert (totals - last <= 0.6 + 1e-6).all()


def test_groups_limit_the_choice(tmp_path: Path) -> None:
    choice = run(session(routed(tmp_path, "grouped"), tmp_path), *drawn(300))["choice"]
    assert (choice[:, 0] // 2 == choice[:, 1] // 2).all()


@pytest.mark.parametrize("capacity", [1, 7, 60])
def test_no_expert_keeps_more_than_its_capacity(capacity: int, tmp_path: Path) -> None:
    """And each keeps the first that chose it, first choices before second ones."""
    steps = ["weight, all = token_choice(logits, 2)", f"choice = within_capacity(all, count=6, capacity={capacity})", TOKENS]
    got = run(session(spec(tmp_path, steps, {**CHOSEN, "all": "int64[T, 2]"}), tmp_path), *drawn(60))
    want = np.full_like(got["all"], -1)
    loads = [0] * EXPERTS
    for place in range(2):
        for token in range(60):
            number = got["all"][token, place]
            if loads[number] < capacity:
                loads[number] += 1
                want[token, place] = number
    np.testing.assert_array_equal(got["choice"], want)


@pytest.mark.parametrize("tokens", [5, 33])
def test_each_expert_chooses_as_many_tokens(tokens: int, tmp_path: Path) -> None:
    steps = ["scores = softmax(logits, dim=-1)", "y = expert_choice(x, scores, expert=expert, count=6, capacity=3)"]
    made = spec(tmp_path, steps, {"y": "float32[T, 8]"}).path.read_text().replace("T: {min: 1", "T: {min: 3")
    (tmp_path / "routed.yaml").write_text(made)
    chosen = lamina.load(tmp_path / "routed.yaml")
    x, logits = drawn(tokens)
    got = run(session(chosen, tmp_path), x, logits)["y"]
    weights = {name: value.detach().numpy() for name, value in lamina.to_torch(chosen).named_parameters()}
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    want = np.zeros_like(x)
    for number in range(EXPERTS):
        best = np.argsort(-scores[:, number], kind="stable")[:3]
        own = {key: torch.from_numpy(weights[f"expert_choice.moe.{number}.{key}"]) for key in _PARTS}
        hidden = torch.nn.functional.gelu(torch.from_numpy(x[best]) @ own["linear.weight"].T + own["linear.bias"])
        made_here = (hidden @ own["linear_2.weight"].T + own["linear_2.bias"]).numpy()
        np.add.at(want, best, scores[best, number][:, None] * made_here)
    np.testing.assert_allclose(got, want, atol=1e-5)


_PARTS = ("linear.weight", "linear.bias", "linear_2.weight", "linear_2.bias")


def test_losses(tmp_path: Path) -> None:
    steps = [
        "weight, choice = token_choice(logits, 2)",
        "y = x",
        "balance = balance_loss(softmax(logits, dim=-1), choice, count=6)",
        "z = z_loss(logits)",
        "loads = load(choice, count=6)",
    ]
    outputs = {"y": "float32[T, 8]", "balance": "float32[]", "z": "float32[]", "loads": "float32[6]", "choice": "int64[T, 2]"}
    x, logits = drawn(50)
    got = run(session(spec(tmp_path, steps, outputs), tmp_path), x, logits)
    scores = torch.softmax(torch.from_numpy(logits), -1)
    loads = np.bincount(got["choice"].ravel(), minlength=EXPERTS)
    np.testing.assert_array_equal(got["loads"], loads)
    np.testing.assert_allclose(got["balance"], EXPERTS * (loads / 100 * scores.numpy().mean(0)).sum(), rtol=1e-5)
    np.testing.assert_allclose(got["z"], torch.logsumexp(torch.from_numpy(logits), -1).square().mean().item(), rtol=1e-5)


@pytest.mark.parametrize("groups", [6, 3, 1])
def test_balance_of_each_sequence(groups: int, tmp_path: Path) -> None:
    """Equations 12 to 17 of arXiv 2401.06066, with both factors 1, for sequences of as many tokens."""
    steps = [
        "probabilities = reshape(softmax(logits, dim=-1), [2, -1, 6])",
        "weight, choice = top_k(probabilities, 2)",
        f"balance = sequence_balance(probabilities, choice, count=6, groups={groups})",
        "y = x",
    ]
    made = spec(tmp_path, steps, {"y": "float32[T, 8]", "balance": "float32[]"}).path
    made.write_text(made.read_text().replace("T: {min: 1,", "T: {min: 2, multiple_of: 2,"))
    x, logits = drawn(40)
    got = run(session(lamina.load(made), tmp_path), x, logits)["balance"]
    want = []
    for scores in torch.from_numpy(logits).softmax(-1).reshape(2, 20, 6):
        chosen = torch.zeros(20, 6).scatter(1, scores.topk(2).indices, 1)
        f, p = 6 / (2 * 20) * chosen.sum(0), scores.mean(0)
        members = torch.arange(6).reshape(groups, -1)
        want.append(sum(f[m].mean() * p[m].sum() for m in members))
    np.testing.assert_allclose(got, np.mean(want), rtol=1e-5)
