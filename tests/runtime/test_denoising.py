"""Sampling from a denoiser: diffusers' numbers, guidance, seeds, progress, and what will not do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import EXPECTED
from samplers import CASES, SEED, SHAPE, SPEC

import lamina
from lamina.runtime import InputError, Session, sample, sample_stream
from lamina.runtime.errors import BundleError

GUIDED = """\
lamina: 1
model: guided
inputs: {x: "float32[N, 3, H, 4]", time: "int64[N]", label: "float32[N]"}
dims: {N: {min: 1, opt: 2, max: 8}, H: {min: 1, opt: 4, max: 8}}
body:
  - y = tanh(x + label[:, None, None, None])
  - given = concat([y, 0.5 * y], dim=1)
outputs: {given: "float32[N, 6, H, 4]"}
"""


def opened(folder: Path, text: str) -> Session:
    (folder / "spec.yaml").write_text(text)
    return Session(lamina.compile(lamina.load(folder / "spec.yaml"), folder / "bundle", targets=["onnx"]))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return opened(tmp_path_factory.mktemp("plain"), SPEC)


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return opened(tmp_path_factory.mktemp("guided"), GUIDED)


@pytest.mark.parametrize("name", CASES)
def test_samples_are_those_of_diffusers(name: str, plain: Session) -> None:
    with np.load(EXPECTED / "samplers.npz") as stored:
        want = stored[name]
    got = sample(plain, seed=SEED, **CASES[name])
    assert want.shape == SHAPE
    np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize("method", ["ddpm", "ddim", "flow"])
def test_a_sample_follows_from_the_seed_and_its_number(method: str, plain: Session) -> None:
    two, five = (sample(plain, dims={"N": n}, seed=1, steps=4, method=method) for n in (2, 5))
    np.testing.assert_array_equal(two, five[:2])
    assert not np.allclose(two[0], two[1])
    assert not np.allclose(two, sample(plain, seed=2, steps=4, method=method))
    assert not np.allclose(sample(plain, steps=4, method=method), sample(plain, steps=4, method=method))


def test_a_denoiser_that_knows_the_answer_finds_it() -> None:
    """Of a single point that all noise comes from, every method ends there."""
    from lamina.runtime.sampling.rules import Place, ddim, ddpm, kept, spaced

    point, rng = np.full((1, 3), 0.7, np.float32), np.random.default_rng(0)
    times = spaced(1000, 11)
    amounts = [1.0, *kept("cosine", 1000)[times]]
    for rule in ("ddpm", "ddim"):
        x = rng.standard_normal((1, 3)).astype(np.float32)
        for i in range(11, 0, -1):
            place = Place(amounts[i], amounts[i - 1])
            noise = (x - np.float32(math.sqrt(place.now)) * point) / np.float32(math.sqrt(1 - place.now))
            clean, noise = place.views(x, noise, "noise", None)

            def draw() -> Any:
                return rng.standard_normal((1, 3)).astype(np.float32)

            x = ddpm(place, x, clean, "small", draw) if rule == "ddpm" else ddim(place, clean, noise, 0.3, draw)
        np.testing.assert_allclose(x, point, atol=1e-4)


def test_guidance_goes_from_without_to_with_and_beyond(guided: Session) -> None:
    """One step, which can be written down, of a model that gives twice the channels; the last channel is not guided."""
    noise = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype(np.float32)
    labels = np.array([0.5, -0.5], np.float32)
    guidance: dict[str, Any] = {"guidance": 3.0, "guided_channels": 2}
    got = sample(guided, {"label": labels}, {"label": 0.0}, noise, {"H": 5}, method="ddim", steps=1, train_steps=21, **guidance)
    given, free = np.tanh(noise + labels[:, None, None, None]), np.tanh(noise)
    both = np.concatenate([free + 3 * (given - free), given], axis=1)[:, [0, 1, 5]]
    beta = 0.1 / 21  # of the first step of training, from which one step of a diffusion goes to the end
    np.testing.assert_allclose(got, (noise - math.sqrt(beta) * both) / math.sqrt(1 - beta), rtol=1e-5, atol=1e-6)


def test_steps_are_told(plain: Session) -> None:
    steps = list(sample_stream(plain, seed=0, steps=3))
    assert [(step.number, step.of) for step in steps] == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_array_equal(steps[-1].samples, sample(plain, seed=0, steps=3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "euler"}, "`method` is 'euler', and must be one of ddpm, ddim, flow"),
        ({"steps": 0}, "`steps` is 0, and must be a whole number from 1 to 100000"),
        ({"steps": 60, "train_steps": 50}, "`steps` is 60, and a diffusion of 50 has no more to take"),
        ({"eta": 2}, "`eta` is 2, and must be a number from 0 to 1"),
        ({"guidance": math.nan}, "`guidance` is nan, and must be a number from -1000 to 1000"),
        ({"stepz": 3}, "`stepz` is not an option of sampling; did you mean `steps`?"),
        ({"guidance": 2.0}, "`guidance` needs what the model is given without the condition"),
        ({"noise": np.zeros((2, 3, 5), np.float32)}, r"the noise has shape \[2, 3, 5\], wanted \[2, 3, 4\]"),
        ({"inputs": {"y": 1}}, "`y` is not an input; the inputs are x: float32"),
        ({"inputs": {"time": [1.0, 2.0]}}, r"what is left here is x: float32\[N, 3, 4\]"),
        ({"without": {"time": 1.0}}, "`without` says `time`, which was not given; give both"),
    ],
)
def test_what_will_not_do_is_said(options: dict[str, Any], message: str, plain: Session) -> None:
    with pytest.raises(InputError, match=message):
        sample(plain, **options)


def test_a_model_that_gives_no_sample_is_no_denoiser(tmp_path: Path) -> None:
    text = SPEC.replace('N, 3, 4]"}\n', 'N, 3, 5]"}\n').replace(
        '[:, None, None])"]', '[:, None, None])", "x = concat([x, x[:, :, :1]], dim=2)"]'
    )
    with pytest.raises(BundleError, match="a denoiser gives an output like x"):
        sample(opened(tmp_path, text))
