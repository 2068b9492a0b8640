"""The circuit against enumeration, and a lossless compressor on top of it: images to bits near their likelihood and back."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from arithmetic_coder import Decoder, Encoder
from evidence import Record

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "probabilistic" / "hclt.yaml"
Array = np.ndarray[Any, Any]
# Seven variables on an irregular tree, whose nodes stand for them in another order.
TREE: dict[str, Any] = {"levels": [[0, 0, 0], [2, 0], [1]], "order": [3, 0, 6, 2, 5, 1, 4]}
PARENTS = (None, 0, 0, 0, 3, 1, 5)  # of each node, the same tree
EVERY = np.array(list(itertools.product(range(3), repeat=7)))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> lamina.Session:
    return lamina.Session(lamina.compile(lamina.load(SPEC, small=True, **TREE), tmp_path_factory.mktemp("hclt") / "bundle"))


@pytest.fixture(scope="module")
def joint() -> Array:
    """p(x) of every x of `EVERY`: the sum over every state of the hidden variables of the product of their tables."""
    stored = lamina.to_torch(lamina.load(SPEC, small=True, **TREE)).state_dict()
    weights = {name: value.double() for name, value in stored.items()}
    table = weights["log_categorical.table"].softmax(1).numpy()  # p(value | state) as [node, value, state]
    edges = torch.cat([weights[f"levels.{i}.sums.weight"] for i in (2, 1, 0)]).softmax(-1).numpy()  # p(state | parent's), from the top
    root = weights["root.weight"].softmax(-1).numpy().reshape(-1)
    p = np.zeros(len(EVERY))
    for states in itertools.product(range(2), repeat=7):
        hidden = root[states[0]] * np.prod([edges[n - 1, states[PARENTS[n] or 0], states[n]] for n in range(1, 7)])
        p += hidden * np.prod([table[n, EVERY[:, TREE["order"][n]], states[n]] for n in range(7)], axis=0)
    return p


def test_likelihoods_are_those_of_enumeration_and_sum_to_one(session: lamina.Session, joint: Array, record: Record) -> None:
    found = session(x=EVERY, observed=np.ones(EVERY.shape, bool))["log_likelihood"]
    assert np.exp(found.astype(np.float64)).sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found, np.log(joint), atol=2e-5)
    for variant in ("binary", "chain"):
        record(SPEC, variant, "parity", f"{np.abs(found - np.log(joint)).max():.0e} of enumeration, small")


@pytest.mark.parametrize("seen", [(), (0,), (3, 4), (0, 1, 2, 5, 6)])
def test_what_is_not_observed_is_summed_over(session: lamina.Session, joint: Array, seen: tuple[int, ...]) -> None:
    observed = np.zeros(EVERY.shape, bool)
    observed[:, seen] = True
    found = session(x=EVERY, observed=observed)["log_likelihood"]
    same = (EVERY[:, None, list(seen)] == EVERY[None][:, :, list(seen)]).all(-1)
    np.testing.assert_allclose(found, np.log(same @ joint), atol=2e-5)


def frequencies(session: lamina.Session, x: Array, node: int) -> list[int]:
    """Of the node's variable given those before it, as integers of which none is 0."""
    order: list[int] = TREE["order"]
    asked = np.repeat(x[None], 3, axis=0)
    asked[:, order[node]] = np.arange(3)
    observed = np.zeros((3, 7), bool)
    observed[:, order[: node + 1]] = True
    log_p = session(x=asked, observed=observed)["log_likelihood"].astype(np.float64)
    p = np.exp(log_p - log_p.max())
    return [int(f) for f in np.round(p / p.sum() * 2**16) + 1]


def test_images_are_coded_near_their_likelihood_and_decoded_exactly(session: lamina.Session, joint: Array) -> None:
    images = EVERY[np.random.default_rng(0).choice(len(EVERY), 40, p=joint)]
    encoder = Encoder()
    for image in images:
        for node, variable in enumerate(TREE["order"]):
            encoder.put(image[variable], frequencies(session, image, node))
    bits = encoder.finish()
    assert len(bits) == pytest.approx(sum(-np.log2(joint[np.ravel_multi_index(image, (3,) * 7)]) for image in images), abs=3)
    decoder = Decoder(bits)
    for image in images:
        decoded = np.zeros(7, np.int64)
        for node, variable in enumerate(TREE["order"]):
            decoded[variable] = decoder.get(frequencies(session, decoded, node))
        np.testing.assert_array_equal(decoded, image)
