"""LATTE on a toy graph of three types, whose joined relations are products of its adjacency matrices; some of them may be empty."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fill import fill
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "graph" / "latte.yaml"
Array = np.ndarray
SIZES = {"movie": 6, "director": 3, "actor": 4}
TYPES = "mda"


def adjacencies(actors: bool) -> dict[str, Array]:
    """Dense, of the four relations; without edges to actors, every relation through them is empty."""
    rng = np.random.default_rng(0)
    md, ma = rng.random((6, 3)) < 0.4, (rng.random((6, 4)) < 0.4) & actors
    return {"md": md, "dm": md.T, "ma": ma, "am": ma.T}


def joined(found: dict[str, Array]) -> dict[str, Array]:
    """What two relations reach, one after the other."""
    return {a + b[1]: found[a].astype(int) @ found[b] > 0 for a in found for b in found if a[1] == b[0]}


def dense_layer(w: dict[str, Array], layer: str, nodes: list[Array], relations: dict[str, Array]) -> list[Array]:
    """By matrices: attention is a softmax over a row, where it has edges."""

    def linear(name: str, i: int) -> Array:
        path = f"{layer}.{name}.{i}"
        return (nodes[i] @ w[f"{path}.weight"].T + w[f"{path}.bias"]).reshape(len(nodes[i]), 2, -1)

    left, right = [[linear(name, i) for i in range(3)] for name in ("linear_l", "linear_r")]
    offers: list[list[Array]] = [[], [], []]
    for k, (name, adjacency) in enumerate(relations.items()):
        start, end = TYPES.index(name[0]), TYPES.index(name[-1])
        scores = (left[start] * w[f"{layer}.attn_l"][k]).sum(2)[:, None] + (right[end] * w[f"{layer}.attn_r"][k]).sum(2)[None]
        weights = np.exp(w[f"{layer}.alpha_activation"][k] * np.where(scores > 0, scores, 0.2 * scores)) * adjacency[:, :, None]
        weights = weights / np.maximum(weights.sum(1, keepdims=True), 1e-30)
        offers[start].append(np.einsum("ijh,jhd->ihd", weights, right[end]).reshape(len(left[start]), -1))
    chosen = []
    for i in range(3):
        logits = nodes[i] @ w[f"{layer}.conv.{i}.share.weight"][:, :, 0].T + w[f"{layer}.conv.{i}.share.bias"]
        share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        stacked = np.stack([*offers[i], left[i].reshape(len(left[i]), -1)], axis=1)
        chosen.append(np.maximum((share[:, :, None] * stacked).sum(1), 0))
    return chosen


@pytest.mark.parametrize("actors", [True, False])
def test_joined_relations_are_products_of_adjacencies(actors: bool, tmp_path: Path) -> None:
    spec = lamina.load(SPEC, variant="imdb_2_attended", small=True)
    w = {p.name: fill(p.name, p.shape) for p in elaborate(spec).graph.parameters()}
    save_file(w, tmp_path / "w.safetensors")
    spec = spec.model_copy(update={"weights": None})
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "w.safetensors"))
    rng = np.random.default_rng(1)
    features = {name: rng.standard_normal((n, 5)).astype(np.float32) for name, n in SIZES.items()}
    first = adjacencies(actors)
    second = joined(first)
    assert set(second) == {"mdm", "dmd", "dma", "mam", "amd", "ama"}
    edges = {name: np.stack(np.nonzero(matrix)).astype(np.int64) for name, matrix in {**first, **second}.items()}
    assert actors or edges["mam"].shape == (2, 0)
    got = session(**features, **edges)
    nodes = [
        np.maximum(x @ w[f"feature_projection.{i}.weight"].T + w[f"feature_projection.{i}.bias"], 0)
        for i, x in enumerate(features.values())
    ]
    one = dense_layer(w, "first", nodes, first)
    two = dense_layer(w, "second", one, {name: second[name] for name in ("mdm", "dmd", "dma", "mam", "amd", "ama")})
    for name, a, b in zip(("movies", "directors", "actors"), one, two, strict=True):
        np.testing.assert_allclose(got[name], np.concatenate([a, b], axis=1), atol=1e-5)
    assert all(got[f"attention_{name}"].shape == (edges[name].shape[1],) for name in first)
