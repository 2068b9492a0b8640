"""The circuit against enumeration and plain sums, and a lossless compressor on its messages: images to bits near their NLL and back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence import Record
from safetensors.torch import save_file
from tree_coder import Walk, decode, encode

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import summarize

SPEC = Path(__file__).parents[2] / "specs" / "probabilistic" / "hclt.yaml"
Array = np.ndarray[Any, Any]
# Seven variables on an irregular tree, whose nodes stand for them in another order; and the parent of each node but the first.
TREE: dict[str, Any] = {"small": True, "levels": [[0, 0, 0], [2, 0], [1]], "order": [3, 0, 6, 2, 5, 1, 4]}
PARENTS = (0, 0, 0, 3, 1, 5)
EVERY = np.array(list(itertools.product(range(3), repeat=7)))
WHOLE = {"binary": [(n - 1) // 2 for n in range(1, 784)], "chain": list(range(63))}  # the parents of its variants' nodes
DEPTH = {"binary": 9, "chain": 63}  # how many ancestors the lowest has


@dataclass(frozen=True)
class Tables:
    """The logarithms of a tree's probabilities in float64, and the parents."""

    leaves: Array  # p(value | state) as [node, value, state]
    edges: Array  # p(state | parent's) as [node - 1, parent's, state]
    root: Array
    parents: Sequence[int]

    def log_likelihood(self, x: Array, observed: Array) -> Array:
        """Of values [N, nodes]: the messages from the last node to the first, one by one."""
        below = np.zeros((len(self.leaves), len(x), len(self.root)))
        for node in reversed(range(len(self.leaves))):
            below[node] += np.where(observed[:, node, None], self.leaves[node][x[:, node]], 0)
            if node:
                below[self.parents[node - 1]] += np.logaddexp.reduce(below[node][:, None] + self.edges[node - 1], axis=-1)
        found: Array = np.logaddexp.reduce(below[0] + self.root, axis=-1)
        return found

    def draw(self, count: int) -> Array:
        """Images [count, nodes] of this distribution, by Gumbel's trick."""
        rng = np.random.default_rng(0)
        states = [(self.root + rng.gumbel(size=(count, len(self.root)))).argmax(-1)]
        for edge, parent in zip(self.edges, self.parents, strict=True):
            states.append((edge[states[parent]] + rng.gumbel(size=(count, len(self.root)))).argmax(-1))
        images = [(leaf.T[s] + rng.gumbel(size=(count, leaf.shape[0]))).argmax(-1) for leaf, s in zip(self.leaves, states, strict=True)]
        return np.stack(images, axis=1)


class Circuit:
    """The whole and the two kinds of messages, each compiled from one checkpoint of the whole."""

    def __init__(self, folder: Path, parents: Sequence[int], **config: Any) -> None:
        self.folder, self.config = folder, config
        state = lamina.to_torch(lamina.load(SPEC, **config)).state_dict()
        save_file(state, folder / "checkpoint.safetensors")
        self.session = self.part("whole")
        held = {name: value.double() for name, value in state.items()}
        leaves, edges, root = held["tables"].log_softmax(1), held["edges"].log_softmax(-1), held["root"].log_softmax(-1)
        self.tables = Tables(leaves.numpy(), edges.numpy(), root[0].numpy(), parents)

    def part(self, part: str) -> lamina.Session:
        spec = lamina.load(SPEC, **self.config, part=part)
        return lamina.Session(lamina.compile(spec, self.folder / part, weights=self.folder / "checkpoint.safetensors"))

    def walk(self) -> Walk:
        return Walk(self.part("down"), self.part("up"), self.tables.parents, len(self.tables.root))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Circuit:
    return Circuit(tmp_path_factory.mktemp("hclt"), PARENTS, **TREE)


@pytest.fixture(scope="module")
def joint(small: Circuit) -> Array:
    """p(x) of every x of `EVERY`: the sum over every state of the hidden variables of the product of their tables."""
    table, edges, root = np.exp(small.tables.leaves), np.exp(small.tables.edges), np.exp(small.tables.root)
    p = np.zeros(len(EVERY))
    for states in itertools.product(range(2), repeat=7):
        hidden = root[states[0]] * np.prod([edges[n - 1, states[PARENTS[n - 1]], states[n]] for n in range(1, 7)])
        p += hidden * np.prod([table[n, EVERY[:, TREE["order"][n]], states[n]] for n in range(7)], axis=0)
    return p


def test_likelihoods_are_those_of_enumeration_and_sum_to_one(small: Circuit, joint: Array) -> None:
    found = small.session(x=EVERY, observed=np.ones(EVERY.shape, bool))["log_likelihood"]
    assert np.exp(found.astype(np.float64)).sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found, np.log(joint), atol=2e-5)
    np.testing.assert_allclose(small.tables.log_likelihood(EVERY[:, TREE["order"]], np.ones(EVERY.shape, bool)), np.log(joint), atol=1e-12)


@pytest.mark.parametrize("seen", [(), (0,), (3, 4), (0, 1, 2, 5, 6)])
def test_what_is_not_observed_is_summed_over(small: Circuit, joint: Array, seen: tuple[int, ...]) -> None:
    observed = np.zeros(EVERY.shape, bool)
    observed[:, seen] = True
    found = small.session(x=EVERY, observed=observed)["log_likelihood"]
    same = (EVERY[:, None, list(seen)] == EVERY[None][:, :, list(seen)]).all(-1)
    np.testing.assert_allclose(found, np.log(same @ joint), atol=2e-5)


def test_messages_give_what_enumeration_gives_of_each_variable_given_those_before(small: Circuit, joint: Array) -> None:
    seen: list[int] = []

    def symbols(node: int, log_p: Array) -> Array:
        variable = TREE["order"][node]
        before = (EVERY[:, None, seen] == EVERY[None][:, :, seen]).all(-1)
        p = np.stack([before[:, EVERY[:, variable] == v] @ joint[EVERY[:, variable] == v] for v in range(3)], axis=1)
        np.testing.assert_allclose(log_p, np.log(p / p.sum(1, keepdims=True)), atol=2e-5)
        seen.append(variable)
        return EVERY[:, variable]

    small.walk()(len(EVERY), symbols)
    assert sorted(seen) == list(range(7))


def test_a_message_costs_the_same_in_a_tree_of_any_size() -> None:
    for part in ("down", "up"):
        models = [elaborate(lamina.load(SPEC, part=part, variables=variables)) for variables in (7, 784)]
        work = [[(row.op, row.bytes, row.macs) for row in summarize(m, {"N": 1}).rows if row.op != "parameter"] for m in models]
        assert work[0] == work[1]


@pytest.mark.parametrize("variant", ["binary", "chain"])
def test_images_are_coded_near_their_likelihood_and_decoded_exactly(variant: str, tmp_path: Path, record: Record) -> None:
    """By two messages for a variable, of which each touches one node; what changes on the way to the root would be up to `DEPTH` more."""
    circuit = Circuit(tmp_path, WHOLE[variant], variant=variant)
    images = circuit.tables.draw(3)
    want = circuit.tables.log_likelihood(images, np.ones(images.shape, bool))
    found = circuit.session(x=images, observed=np.ones(images.shape, bool))["log_likelihood"]
    worst = float(np.abs(found - want).max() / np.abs(want).max())
    assert worst <= 1e-6
    nats = check_conditionals(circuit, images)
    walk = circuit.walk()
    bits = encode(walk, images)
    assert walk.messages == 2 * images.shape[1] - 1 <= images.shape[1] * (DEPTH[variant] + 1)
    assert 0.999 * -want.sum() / np.log(2) < len(bits) < 1.002 * -want.sum() / np.log(2)
    np.testing.assert_array_equal(decode(circuit.walk(), bits, len(images)), images)
    record(SPEC, variant, "parity", f"{worst:.0e} of the sums in NumPy")
    for part in ("down", "up") if variant == "binary" else ():  # whose sizes are theirs
        record(SPEC, part, "parity", f"{nats:.0e} nats of the sums in NumPy")


def check_conditionals(circuit: Circuit, images: Array) -> float:
    """The messages' against the ratio of two marginals, for some values of some nodes; the greatest difference in nats."""
    count, nodes = images.shape
    some = np.arange(0, circuit.tables.leaves.shape[1], 16)
    observed = np.zeros((1, nodes), bool)
    errors = []

    def symbols(node: int, log_p: Array) -> Array:
        now = observed | (np.arange(nodes) == node)
        if observed.sum() % (nodes // 4) == nodes // 8:
            before = circuit.tables.log_likelihood(images[:1], observed)
            asked = np.repeat(images[:1], len(some), 0)
            asked[:, node] = some
            given = circuit.tables.log_likelihood(asked, np.repeat(now, len(some), 0)) - before
            whole = circuit.session(x=asked, observed=np.repeat(now, len(some), 0))["log_likelihood"]
            errors.append(np.abs(log_p[0, some] - given).max())
            np.testing.assert_allclose(log_p[0, some], whole - before, atol=2e-3)  # of likelihoods down to e^-4400, in float32
        observed[:] = now
        return images[:, node]

    circuit.walk()(count, symbols)
    assert len(errors) == 4
    assert max(errors) <= 2e-5
    return float(max(errors))
