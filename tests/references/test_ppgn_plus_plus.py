"""The network on pairs of nodes: a new order of the nodes changes nothing, nor do absent ones, and one file takes any number of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fill import fill
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "graph" / "ppgn_plus_plus.yaml"
TERMS = (
    "ab ac ad bc cd>bd",
    "ab bc bd be cd ce>de",
    "ab bd be cd ce de>ac",
    "ab bd be cd ce de>bc",
    "ab ad ae bc cd de>be",
    "ac ad ae bc bd be>cd",
)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, lamina.Session]:
    found = {}
    for variant in ("zinc", "strongly_regular"):
        spec, folder = lamina.load(SPEC, variant=variant, small=True), tmp_path_factory.mktemp(variant)
        save_file({p.name: fill(p.name, p.shape) for p in elaborate(spec).graph.parameters()}, folder / "w.safetensors")
        found[variant] = lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "w.safetensors"))
    return found


@pytest.mark.parametrize("variant", ["zinc", "strongly_regular"])
@pytest.mark.parametrize("size", [3, 6, 9])
def test_order_of_nodes_does_not_matter(sessions: dict[str, lamina.Session], variant: str, size: int) -> None:
    rng = np.random.default_rng(size)
    graph = rng.standard_normal((2, 3 if variant == "zinc" else 1, size, size)).astype(np.float32) / 2
    order = rng.permutation(size)
    mask = np.arange(size) < size - 1  # the last node is absent
    plain = sessions[variant](graph=graph, mask=np.stack([mask, mask]))["y"]
    moved = sessions[variant](graph=graph[:, :, order][:, :, :, order], mask=np.stack([mask[order]] * 2))["y"]
    np.testing.assert_allclose(moved, plain, atol=1e-5 * np.abs(plain).max())
    fewer = sessions[variant](graph=graph[:, :, :-1, :-1], mask=np.ones((2, size - 1), bool))["y"]
    np.testing.assert_allclose(fewer, plain, atol=1e-5 * np.abs(plain).max())


def test_polynomials(tmp_path: Path) -> None:
    """Each is a sum over all nodes that the result does not name: loops over every choice of nodes."""
    text = SPEC.read_text(encoding="utf-8")
    blocks = text[text.index("blocks:") : text.index("  mlp:\n")].replace("eye(shape(x)[1])", "eye(V)")
    config = text[text.index("  degree: 6") : text.index("variants:")].replace("cliques: false", "cliques: true")
    head = "lamina: 1\nmodel: p\nconfig:\n  normalize: false\n"
    ends = 'dims: {N: {min: 1, opt: 1, max: 2}, V: {min: 2, opt: 4, max: 8}}\ninputs: {x: "float32[N, V, V]"}\n'
    outputs = 'body: [polynomials]\noutputs: {y: "float32[N, 12, V, V]"}\n'
    (tmp_path / "p.yaml").write_text(head + config + ends + blocks + outputs)
    a = np.random.default_rng(1).integers(-2, 3, (1, 4, 4)).astype(np.float32)
    got = lamina.Session(lamina.compile(lamina.load(tmp_path / "p.yaml"), tmp_path / "bundle"))(x=a)["y"][0]
    wanted = [by_loops(a[0], term) for term in TERMS]
    for place, term in zip((0, *range(4, 12)), (0, 1, 2, 2, 3, 3, 4, 4, 5), strict=True):
        np.testing.assert_allclose(got[place], wanted[term], rtol=1e-5)
    clique = by_loops(a[0], "ab ac ad bc bd cd>ab")
    np.testing.assert_allclose(got[3], clique, rtol=1e-5)
    np.testing.assert_allclose(got[2], np.diag(clique.sum(1)), rtol=1e-5)
    np.testing.assert_allclose(got[1], np.full((4, 4), clique.sum()), rtol=1e-5)


def by_loops(a: np.ndarray, term: str) -> np.ndarray:
    edges, result = term.split(">")
    pairs = ["abcde".index(c) for e in edges.split() for c in e]
    total = np.zeros_like(a)
    for nodes in np.ndindex(*[len(a)] * (max(pairs) + 1)):
        product = np.prod([a[nodes[i], nodes[j]] for i, j in zip(pairs[::2], pairs[1::2], strict=True)])
        total[nodes["abcde".index(result[0])], nodes["abcde".index(result[1])]] += product
    return total
