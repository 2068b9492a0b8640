"""What a temperature may be, and that it changes no greedy choice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fill import uniform

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "layer" / "tempnet.yaml"


@pytest.mark.parametrize("variant", ["training", "generation"])
def test_temperatures_stay_in_their_range_and_choices_stay(variant: str, tmp_path: Path) -> None:
    session = lamina.Session(lamina.compile(lamina.load(SPEC, variant, small=True), tmp_path / "bundle"))
    for size in (0, 1, 1e4):
        logits = (size * uniform("logits", (3, 5, 40))).astype(np.float32)
        found = session(logits=logits)
        assert (found["temperature"] > 0.01).all()
        assert (found["temperature"] <= 1.2).all()
        np.testing.assert_allclose(found["cooled"] * found["temperature"], logits, rtol=1e-5)
        np.testing.assert_array_equal(found["cooled"].argmax(-1), logits.argmax(-1))


def test_only_the_shifted_form_ignores_a_constant(tmp_path: Path) -> None:
    logits = 3 * uniform("logits", (1, 4, 40))
    moved = {}
    for variant in ("training", "generation"):
        session = lamina.Session(lamina.compile(lamina.load(SPEC, variant, small=True), tmp_path / variant))
        moved[variant] = np.abs(session(logits=logits + 5)["temperature"] - session(logits=logits)["temperature"]).max()
    assert moved["generation"] < 1e-6
    assert moved["training"] > 1e-5


def test_an_embedding_has_one_temperature_whatever_it_is_compared_with(tmp_path: Path) -> None:
    path = SPEC.with_name("tempnet_clip.yaml")
    session = lamina.Session(lamina.compile(lamina.load(path, small=True), tmp_path / "bundle"))
    images, texts = uniform("images", (4, 12)), uniform("texts", (3, 12))
    found, fewer = session(images=images, texts=texts), session(images=images[::-1].copy(), texts=texts[1:])
    np.testing.assert_allclose(fewer["image_temperature"], found["image_temperature"][::-1], rtol=1e-6)
    np.testing.assert_allclose(fewer["image_logits"], found["image_logits"][::-1, 1:], rtol=1e-5)
    np.testing.assert_allclose(found["text_logits"] * found["text_temperature"], texts @ images.T, rtol=1e-4, atol=1e-6)
    for kind in ("image", "text"):
        assert (found[f"{kind}_temperature"] > 0.005).all()
        assert (found[f"{kind}_temperature"] < 0.05).all()
