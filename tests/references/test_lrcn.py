"""LRCN against `torch.nn.Conv2d` and `torch.nn.LSTM` with Caffe's settings, and captions written by loops on the host."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evidence import Record
from fill import fill, uniform
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, local_response_norm, max_pool2d

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "vision" / "lrcn.yaml"
SIDE, HIDDEN, VOCABULARY = 67, 10, 30
CONVOLUTIONS = {
    "activity": [(2, 0, 1), (2, 0, 2), (1, 1, 1), (1, 1, 2), (1, 1, 2)],  # stride, padding, groups
    "image": [(4, 0, 1), (1, 2, 2), (1, 1, 1), (1, 1, 2), (1, 1, 2)],
}
Array = np.ndarray[Any, Any]
State = dict[str, Array]
Step = Callable[[Array, State], tuple[Array, State]]


@dataclass(frozen=True)
class Twins:
    """Ours, and the weights by path, which follow from their names."""

    session: lamina.Session
    weights: dict[str, Tensor]

    @classmethod
    def of(cls, variant: str, folder: Path) -> Twins:
        spec = lamina.load(SPEC, variant=variant, small=True)
        arrays = {k: fill(k, tuple(v.shape)) for k, v in lamina.to_torch(spec).state_dict().items()}
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, folder / f"{variant}.safetensors")
        session = lamina.Session(lamina.compile(spec, folder / variant, weights=folder / f"{variant}.safetensors"))
        return cls(session, {k: torch.from_numpy(v) for k, v in arrays.items()})

    def under(self, prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in self.weights.items() if k.startswith(prefix)}


def fully(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def convolutions(x: Tensor, w: dict[str, Tensor], kind: str) -> Tensor:
    """Up to fc6 [N, neurons]: pooling after the first, second and fifth, normalised after the first two."""
    for i, (stride, padding, groups) in enumerate(CONVOLUTIONS[kind], 1):
        x = conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"], stride, padding, groups=groups).relu()
        if i in (1, 2, 5):
            x = max_pool2d(x, 3, 2, ceil_mode=True)
        if i < 3:
            x = local_response_norm(x, 5)
    return fully(x.flatten(1), w, "fc6").relu()


def lstm(x: Tensor, w: dict[str, Tensor], state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    module = nn.LSTM(x.shape[-1], w["weight_hh"].shape[1], batch_first=True)
    module.load_state_dict({f"{k}_l0": v for k, v in w.items()})
    with torch.no_grad():
        return module(x, state)


def watched(frames: Array, twins: Twins, name: str) -> Array:
    """The probabilities after each frame [N, T, classes]."""
    x = torch.from_numpy(frames)
    seen = convolutions(x.flatten(0, 1), twins.under(f"{name}.convolutions."), "activity").unflatten(0, x.shape[:2])
    states, _ = lstm(seen, twins.under(f"{name}.lstm1.cell."))
    return fully(states, twins.under(f"{name}."), "fc8").softmax(-1).numpy()


def error_of(found: Array, wanted: Array) -> float:
    error = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    assert error <= 1e-5
    return error


@pytest.mark.parametrize(("variant", "shares"), [("activity_rgb", (1, 0)), ("activity_flow", (0, 1)), ("activity_fused", (0.333, 0.667))])
def test_activity(variant: str, shares: tuple[float, float], tmp_path: Path, record: Record) -> None:
    """The whole clip at once, and as it comes, some frames at a time."""
    twins = Twins.of(variant, tmp_path)
    clips = {name: 3 * uniform(name, (2, 5, 3, SIDE, SIDE)) for name, share in zip(("rgb", "flow"), shares, strict=True) if share}
    wanted = sum(share * watched(clips[name], twins, name) for name, share in zip(("rgb", "flow"), shares, strict=True) if share)
    assert wanted.std(axis=1).max() > 1e-3  # the frames matter
    found = twins.session(**clips)
    worst = max(error_of(found["steps"], wanted), error_of(found["probabilities"], wanted.mean(1)))
    stream = twins.session.stream()
    for a, b in itertools.pairwise([0, 1, 2, 5]):
        found = stream(**{name: clip[:, a:b] for name, clip in clips.items()})
        worst = max(worst, error_of(found["steps"], wanted[:, a:b]), error_of(found["probabilities"], wanted[:, :b].mean(1)))
    record(SPEC, variant, "parity", f"{worst:.0e} of torch.nn.LSTM over convolutions, small")


def test_image(tmp_path: Path, record: Record) -> None:
    twins = Twins.of("caption_image", tmp_path)
    image = 3 * uniform("image", (2, 3, SIDE, SIDE))
    x = fully(convolutions(torch.from_numpy(image), twins.under("net."), "image"), twins.weights, "fc7").relu()
    worst = error_of(twins.session(image=image)["seen"], fully(x, twins.weights, "fc8").numpy())
    record(SPEC, "caption_image", "parity", f"{worst:.0e} of PyTorch, small")


class Writer:
    """The words' network of torch.nn.LSTM: `sees` is the layer that is given the picture."""

    def __init__(self, twins: Twins, layers: int, sees: int, picture: Array) -> None:
        self.w, self.layers, self.sees, self.picture = twins, layers, sees, torch.from_numpy(picture)

    def __call__(self, words: Array, state: State) -> tuple[Array, State]:
        x = self.w.weights["embedding.weight"][torch.from_numpy(words)]
        left = {}
        for i in range(self.layers):
            picture = self.picture[:, None].expand(-1, x.shape[1], -1)
            h, c = (torch.from_numpy(state[f"{i}.{k}"])[None].contiguous() for k in "hc")
            seen = torch.cat([x, picture], -1) if i == self.sees else x
            x, (h, c) = lstm(seen, self.w.under(f"layers.{i}.lstm.cell."), (h, c))
            left |= {f"{i}.h": h[0].numpy(), f"{i}.c": c[0].numpy()}
        return fully(x, self.w.weights, "predict").numpy(), left


def ours(session: lamina.Session, picture: Array) -> Step:
    """A call of the step graph with its states given and taken."""

    def step(words: Array, state: State) -> tuple[Array, State]:
        past = {f"past.layers.{k[0]}.lstm.{k[2]}": v for k, v in state.items()}
        found = session(words=words, features=picture, **past)
        return found["logits"], {k: found[f"present.layers.{k[0]}.lstm.{k[2]}"] for k in state}

    return step


def nothing(layers: int, rows: int) -> State:
    return {f"{i}.{k}": np.zeros((rows, HIDDEN), np.float32) for i in range(layers) for k in "hc"}


def beam(step: Step, layers: int, width: int, length: int) -> tuple[list[int], float]:
    """The likeliest caption that a beam finds, without an end: words and log-probability. Every row has the same picture."""
    captions, state, scores = np.zeros((width, 1), np.int64), nothing(layers, width), np.full(width, -np.inf)
    scores[0] = 0
    for _ in range(length):
        logits, state = step(captions[:, -1:], state)
        totals = scores[:, None] + torch.from_numpy(logits[:, 0]).log_softmax(-1).numpy()
        best = np.argsort(-totals, axis=None, kind="stable")[:width]
        rows, words = best // VOCABULARY, best % VOCABULARY
        captions, scores = np.concatenate([captions[rows], words[:, None]], axis=1), totals[rows, words]
        state = {k: v[rows] for k, v in state.items()}
    return captions[0, 1:].tolist(), float(scores[0])


@pytest.mark.parametrize(("network", "layers", "sees"), [("1u", 1, 0), ("2u", 2, 0), ("2f", 2, 1)])
def test_words(network: str, layers: int, sees: int, tmp_path: Path, record: Record) -> None:
    """Scores of given words, and captions written greedily and by a beam, from three pictures."""
    variant = f"caption_words_{network}"
    twins, captions = Twins.of(variant, tmp_path), set()
    pictures = 3 * uniform("pictures", (3, 7))
    words = np.random.default_rng(0).integers(0, VOCABULARY, (3, 8))
    wanted, _ = Writer(twins, layers, sees, pictures)(words, nothing(layers, 3))
    worst = error_of(twins.session(words=words, features=pictures)["logits"], wanted)
    for picture, width in itertools.product(pictures, (1, 4)):
        rows = np.tile(picture, (width, 1))
        found, likely = beam(ours(twins.session, rows), layers, width, 6)
        theirs, likely_there = beam(Writer(twins, layers, sees, rows), layers, width, 6)
        assert found == theirs
        assert abs(likely - likely_there) < 1e-4
        captions.add(tuple(found))
    assert len(captions) > 2  # the picture matters
    record(SPEC, variant, "parity", f"{worst:.0e} of torch.nn.LSTM, small")
