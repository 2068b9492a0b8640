"""p-MoD: what its layers take of an image, and what that saves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from evidence import Record
from in_parts import in_parts

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import summarize

SPEC = Path(__file__).parents[2] / "specs" / "language" / "p_mod.yaml"


def test_keys_and_multiply_adds_are_about_as_published() -> None:
    """53.8% of keys and values, and 55.6% of operations, the vision tower's perhaps among them; with how much text is not said."""
    config = elaborate(lamina.load(SPEC, "llava-next-7b")).config
    taken = np.array(config["taken"]) / config["vision"]
    assert abs(taken.mean() - 0.538) < 2e-3
    assert taken[0] == 1
    assert (np.diff(taken) <= 0).all()
    at = {"N": 1, "B": 35, "T": 100}
    some, all_ = (summarize(elaborate(lamina.load(SPEC, "llava-next-7b", most=most)), at).macs for most in (0.85, -1.0))
    assert 0.53 < some / all_ < 0.57


def test_without_weights_and_taking_all_it_is_the_plain_decoder(tmp_path: Path) -> None:
    """A ratio of 1 is the dense variant; and a scale of 0 with a bias of 1 is what remains of a layer for the tokens that it takes."""
    given = {
        "before": np.array([[3, 1, 4]]),
        "image": np.random.default_rng(0).standard_normal((1, 12, 32)).astype(np.float32),
        "after": np.array([[1, 5]]),
    }
    found = [
        lamina.Session(lamina.compile(lamina.load(SPEC, small=True, every=True, **more), tmp_path / str(i)))(**given)["logits"]
        for i, more in enumerate(({"most": -1.0}, {"least": 1.0, "most": 2.0}, {"scale": 0.0}))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[2][:, :3], found[0][:, :3], atol=1e-5)  # text before the image sees nothing of it
    assert not np.allclose(found[2][:, 3:], found[0][:, 3:], atol=1e-3)


def test_text_goes_on_from_what_layers_remember(tmp_path: Path, record: Record) -> None:
    """Of each layer's own length, as many as it took of the image."""
    memory = in_parts(SPEC, "llava-1.5-7b", tmp_path, record)
    taken = elaborate(lamina.load(SPEC, small=True)).config["taken"]
    assert memory["pictures"].shape[2] == sum(taken) < 4 * 12
