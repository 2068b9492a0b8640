"""Combiner against the whole matrix of weights, place by place after the authors' `approx_attention.py` (`logsparse`: `layer.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence import Record
from fill import fill, uniform
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import summarize

SPEC = Path(__file__).parents[2] / "specs" / "layer" / "combiner.yaml"
DIM, HEADS, SPAN, HEAD = 8, 2, 3, 4
POOLS = {"fixed": ("identity", np.max), "fixed_deepset": ("deepset", np.mean), "fixed_relu": ("relu", np.sum)}
Array = np.ndarray[Any, Any]
Weights = dict[str, Array]


def softmax(scores: Array) -> Array:
    e = np.exp(scores - scores.max(-1, keepdims=True))
    found: Array = e / e.sum(-1, keepdims=True)
    return found


def affine(x: Array, w: Weights, name: str) -> Array:
    found: Array = x @ w[f"{name}.weight"].T + w[f"{name}.bias"]
    return found


class Places:
    """The places that one query looks at, directly or through a summary: a score for each, and the weights that it stands for."""

    def __init__(self, q: Array, k: Array) -> None:
        self.q, self.k = q, k
        self.scores: list[float] = []
        self.rows: list[Array] = []

    def direct(self, i: int, j: int) -> None:
        self.summary(i, self.k[j], np.eye(len(self.k))[j])

    def summary(self, i: int, key: Array, row: Array) -> None:
        self.scores.append(float(self.q[i] @ key))
        self.rows.append(row)

    def weights(self) -> Array:
        found: Array = softmax(np.array(self.scores)) @ np.stack(self.rows)
        return found


def spread(query: Array, k: Array, places: list[int]) -> Array:
    """A row of the matrix that attends to these places alone."""
    row = np.zeros(len(k))
    row[places] = softmax(k[places] @ query)
    return row


def fixed(q: Array, k: Array, w: Weights, variant: str) -> Array:
    activation, pool = POOLS[variant]

    def pooled(x: Array, name: str) -> Array:
        if activation == "deepset":
            x = x @ w[f"fixed.pool_{name}.activation.fc.weight"].T
        return np.asarray(pool(x if activation == "identity" else np.maximum(x, 0), axis=0))

    matrix = []
    for i in range(len(q)):
        seen, own = Places(q, k), i // SPAN
        for j in range(own * SPAN, i + 1):
            seen.direct(i, j)
        for r in range(own):
            places = list(range(r * SPAN, (r + 1) * SPAN))
            seen.summary(i, pooled(k[places], "key"), spread(pooled(q[places], "query"), k, places))
        matrix.append(seen.weights())
    return np.stack(matrix)


def rowmajor(q: Array, k: Array, keys: Array) -> Array:
    matrix = []
    for i in range(len(q)):
        seen, (own, column) = Places(q, k), divmod(i, SPAN)
        for j in range(own * SPAN, i + 1):
            seen.direct(i, j)
        for r in range(own):
            place = r * SPAN + column
            seen.summary(i, keys[place], spread(q[place], k, list(range(r * SPAN, (r + 1) * SPAN))))
        matrix.append(seen.weights())
    return np.stack(matrix)


def axial(q: Array, k: Array) -> Array:
    def told(places: range) -> None:
        if len(places):
            seen.summary(i, k[places].sum(0), spread(q[places].sum(0), k, list(places)))

    matrix = []
    for i in range(len(q)):
        seen, (own, column) = Places(q, k), divmod(i, SPAN)
        for j in range(own * SPAN, i + 1):
            seen.direct(i, j)
        for r in range(own):
            row = range(r * SPAN, (r + 1) * SPAN)
            seen.direct(i, row[column])
            told(row[:column])
            told(row[column + 1 :])
        for c in range(SPAN):
            if c != column:
                told(range(c, own * SPAN, SPAN))
        matrix.append(seen.weights())
    return np.stack(matrix)


def logsparse(q: Array, k: Array) -> Array:
    matrix = []
    for i in range(len(q)):
        seen, end = Places(q, k), i
        seen.direct(i, i)
        while end:
            places = list(range(end & (end - 1), end))  # of as many places as the lowest power of two in `end`
            seen.summary(i, k[places].max(0), spread(q[places].max(0), k, places))
            end = places[0]
        matrix.append(seen.weights())
    return np.stack(matrix)


def rowmajor_keys(x: Array, q: Array, k: Array, v: Array, w: Weights) -> Array:
    """The keys of the summaries [T, dim], from what every token attends to in its whole row."""
    told = np.zeros_like(v)
    for i in range(len(x)):
        places = list(range(i // SPAN * SPAN, i // SPAN * SPAN + SPAN))
        for head in np.split(np.arange(DIM), HEADS):
            told[i, head] = spread(q[i, head], k[:, head], places) @ v[:, head]
    y = x + affine(told, w, "rowmajor.summary")
    y = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-5)
    return affine(y * w["rowmajor.norm.weight"] + w["rowmajor.norm.bias"], w, "rowmajor.summary_key")


def layer(x: Array, w: Weights, variant: str) -> tuple[Array, list[Array]]:
    """The output [T, dim], and each head's matrix."""
    q, k, v = (affine(x, w, name) for name in ("query", "key", "value"))
    q = q * HEAD**-0.5
    keys = rowmajor_keys(x, q, k, v, w) if variant == "rowmajor" else k
    outputs, matrices = [], []
    for head in np.split(np.arange(DIM), HEADS):
        given = q[:, head], k[:, head]
        if variant in POOLS:
            matrices.append(fixed(*given, w, variant))
        elif variant == "rowmajor":
            matrices.append(rowmajor(*given, keys[:, head]))
        else:
            matrices.append(axial(*given) if variant == "axial" else logsparse(*given))
        outputs.append(matrices[-1] @ v[:, head])
    return affine(np.concatenate(outputs, axis=1), w, "out"), matrices


@pytest.mark.parametrize("variant", [*POOLS, "rowmajor", "axial", "logsparse"])
def test_is_the_whole_matrix(variant: str, tmp_path: Path, record: Record) -> None:
    """Of which every row sums to 1, and holds something of every place so far and nothing of a later one."""
    spec = lamina.load(SPEC, variant, small=True)
    weights = {k: fill(k, tuple(v.shape)) for k, v in lamina.to_torch(spec).state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))
    wide = {k: v.astype(np.float64) for k, v in weights.items()}
    worst = 0.0
    for n, length in ((1, 3), (2, 6), (1, 12)):
        x = 2 * uniform(f"x {length}", (n, length, DIM))
        for got, row in zip(session(x=x)["y"], x.astype(np.float64), strict=True):
            wanted, matrices = layer(row, wide, variant)
            worst = max(worst, float(np.abs(got - wanted).max() / np.abs(wanted).max()))
            for matrix in matrices:
                np.testing.assert_allclose(matrix.sum(1), 1)
                assert ((matrix > 0) == np.tri(length, dtype=bool)).all()
    assert worst < 1e-5
    record(SPEC, variant, "parity", f"{worst:.0e} of the whole matrix in NumPy, small")


@pytest.mark.parametrize("variant", [*POOLS, "rowmajor", "axial", "logsparse"])
def test_a_later_token_changes_nothing(variant: str, tmp_path: Path) -> None:
    session = lamina.Session(lamina.compile(lamina.load(SPEC, variant, small=True), tmp_path / "bundle"))
    x = uniform("x", (1, 12, DIM))
    before = session(x=x)["y"]
    x[:, 7:] += 1
    after = session(x=x)["y"]
    np.testing.assert_allclose(after[:, :7], before[:, :7], atol=1e-6)
    assert np.abs(after[:, 7:] - before[:, 7:]).max(axis=(0, 2)).min() > 1e-4


@pytest.mark.parametrize(
    ("variant", "least", "most"),
    [("fixed", 55, 70), ("rowmajor", 55, 70), ("axial", 55, 70), ("logsparse", 16 * 10 / 6 - 0.1, 16 * 10 / 6 + 0.1)],
)
def test_costs_the_length_times_its_root_or_its_logarithm(variant: str, least: float, most: float) -> None:
    """Four times the span, sixteen times the length: 64 times the products outside the projections. Of a full matrix it would be 256.
    Of spans of powers of two there are as many kinds as the length has digits, 10 instead of 6.
    """

    def products(span: int) -> int:
        model = elaborate(lamina.load(SPEC, variant, small=True, span=span, longest=span**2))
        projections = (6 if variant == "rowmajor" else 4) * span**2 * DIM**2
        macs = summarize(model, {"N": 1, "T": span**2}).macs
        assert isinstance(macs, int)
        return macs - projections

    assert least < products(32) / products(8) < most
