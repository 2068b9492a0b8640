"""The network on edges: a new order of nodes and edges is one of its features, one file takes any number of them, polynomials are loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from fill import fill
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "graph" / "gated_gcn.yaml"
VARIANTS = ("zinc", "zinc_polynomials")
SIZES = ((2, 0), (6, 15), (20, 44))
TERMS = (  # a letter is a node; a power is a path from b to a
    *("bc ca>ba", "bc cd da>ba", "bc cd de ea>ba", "bc cd de ef fa>ba", "bc cd de ef fg ga>ba"),
    "ab ac ad bc cd>bd",
    "ab bc bd be cd ce>de",
    *["ab bd be cd ce de>ac"] * 2,
    *["ab bd be cd ce de>bc"] * 2,
    *["ab ad ae bc cd de>be"] * 2,
    "ac ad ae bc bd be>cd",
)
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, lamina.Session]:
    found = {}
    for variant in VARIANTS:
        spec, folder = lamina.load(SPEC, variant=variant, small=True), tmp_path_factory.mktemp(variant)
        save_file({p.name: fill(p.name, p.shape) for p in elaborate(spec).graph.parameters()}, folder / "w.safetensors")
        weights = spec.model_copy(update={"weights": None})
        found[variant] = lamina.Session(lamina.compile(weights, folder / "bundle", weights=folder / "w.safetensors"))
    return found


def graph(nodes: int, count: int) -> Arrays:
    """One with edges in one direction, from a node to itself, and twice."""
    rng = np.random.default_rng(nodes)
    return {"atom": rng.integers(0, 28, nodes), "bond": rng.integers(0, 4, count), "edges": rng.integers(0, nodes, (2, count))}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("nodes", "count"), SIZES)
def test_order_does_not_matter(sessions: dict[str, lamina.Session], variant: str, nodes: int, count: int) -> None:
    rng = np.random.default_rng(0)
    x, order, places = graph(nodes, count), rng.permutation(nodes), rng.permutation(count)
    plain = sessions[variant](**x)
    moved = sessions[variant](atom=x["atom"][order], bond=x["bond"][places], edges=np.argsort(order)[x["edges"]][:, places])
    assert plain["node_features"].shape == (nodes, 12)
    assert plain["edge_features"].shape == (count, 12)
    for name, at in (("node_features", order), ("edge_features", places), ("y", slice(None))):
        np.testing.assert_allclose(moved[name], plain[name][at], atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_nodes_without_edges_change_no_other(sessions: dict[str, lamina.Session], variant: str) -> None:
    x = graph(6, 15)
    plain, more = sessions[variant](**x), sessions[variant](**{**x, "atom": np.append(x["atom"], [3, 5])})
    np.testing.assert_allclose(more["node_features"][:6], plain["node_features"], atol=1e-5)
    np.testing.assert_allclose(more["edge_features"], plain["edge_features"], atol=1e-5)


def test_only_polynomials_tell_one_cycle_from_two(sessions: dict[str, lamina.Session]) -> None:
    """Six nodes in a ring, and in two triangles: every node has two neighbours like itself, so all messages are the same."""
    ring = np.array([[i, (i + 1) % 6] for i in range(6)])
    triangles = np.array([[i, (i + 1) % 3 + i // 3 * 3] for i in range(6)])
    apart = {}
    for variant in VARIANTS:
        features = [
            sessions[variant](atom=np.zeros(6, np.int64), bond=np.zeros(12, np.int64), edges=np.concatenate([e, e[:, ::-1]]).T)[
                "node_features"
            ]
            for e in (ring, triangles)
        ]
        apart[variant] = np.abs(features[0] - features[1]).max()
    assert apart["zinc"] < 1e-6
    assert apart["zinc_polynomials"] > 1e-2


def test_polynomials(tmp_path: Path) -> None:
    """Each is a sum over all nodes that the result does not name, scaled over polynomials and then over pairs."""
    text = SPEC.read_text(encoding="utf-8")
    blocks = text[text.index("blocks:") : text.index("  layer:\n")]
    config = text[text.index("  powers: 6") : text.index("variants:")]
    ends = 'dims: {V: {min: 1, opt: 4, max: 8}}\ninputs: {x: "float32[V, V]"}\nbody: [pairs]\noutputs: {y: "float32[14, V, V]"}\n'
    (tmp_path / "p.yaml").write_text("lamina: 1\nmodel: p\nconfig:\n" + config + blocks + ends)
    session = lamina.Session(lamina.compile(lamina.load(tmp_path / "p.yaml"), tmp_path / "bundle"))
    for size in (1, 3, 4):
        a = np.random.default_rng(size).integers(0, 3, (size, size))
        found = np.stack([by_loops(a, term) for term in TERMS])
        for dims in (0, (1, 2)):
            norm = np.sqrt((found**2).sum(dims, keepdims=True))
            found = found / np.where(norm > 0, norm, 1)
        np.testing.assert_allclose(session(x=a.astype(np.float32))["y"], found, atol=1e-6)


def by_loops(a: np.ndarray, term: str) -> np.ndarray:
    edges, result = term.split(">")
    letters = sorted({*edges} - {" "})
    total = np.zeros(a.shape)
    for choice in np.ndindex(*[len(a)] * len(letters)):
        at = dict(zip(letters, choice, strict=True))
        total[at[result[0]], at[result[1]]] += math.prod(int(a[at[e[0]], at[e[1]]]) for e in edges.split())
    return total
