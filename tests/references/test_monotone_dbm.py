"""The one fixed point of the mean field: it is one, the start does not matter, and one file completes and classifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence import Record
from fill import uniform
from safetensors.numpy import save_file

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "probabilistic" / "monotone_dbm.yaml"
Array = np.ndarray[Any, Any]
COUNTS, STATES = (6, 3, 1), (2, 2, 4)
OWNERS = np.repeat(np.arange(10), np.repeat(STATES, COUNTS))  # the variable of each entry of the beliefs


def potentials(weights: dict[str, Array]) -> Array:
    """blockdiag(A^T A) - A^T A by the paper's formula, entry by entry, for connections of layers 0 and 1, and of 1 and 2."""
    columns = []
    for layer, rows in ((0, [0]), (1, [0, 1]), (2, [1])):
        free = weights[f"factors.{layer}.weight"]
        for variable in range(COUNTS[layer]):
            block = free[:, variable]
            block = block * min(np.sqrt(1 - 0.1) / np.linalg.norm(block), 1)
            column = np.zeros((8, STATES[layer]))
            for place, row in enumerate(rows):
                column[4 * row : 4 * row + 4] = block[4 * place : 4 * place + 4]
            columns.append(column)
    a = np.concatenate(columns, axis=1)
    return np.where(OWNERS[:, None] == OWNERS, 0, -(a.T @ a))


@pytest.fixture(scope="module")
def strong() -> dict[str, Array]:
    """Weights whose potentials are about as large as they may be."""
    stored = lamina.to_torch(lamina.load(SPEC, variant="started", small=True)).state_dict()
    return {name: 2 * uniform(name, tuple(value.shape)) for name, value in stored.items()}


@pytest.fixture(scope="module")
def session(strong: dict[str, Array], tmp_path_factory: pytest.TempPathFactory) -> lamina.Session:
    folder = tmp_path_factory.mktemp("dbm")
    save_file(strong, folder / "strong.safetensors")
    spec = lamina.load(SPEC, variant="started", small=True)
    return lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "strong.safetensors"))


def asked() -> dict[str, Array]:
    """Four requests: nothing is observed, the pixels are, the label is, and some of each."""
    values = np.array([[1, 0, 1, 1, 0, 0, 1, 0, 1, 3]] * 4)
    observed = np.zeros((4, 10), bool)
    observed[1, :6] = observed[2, 9:] = observed[3, [0, 2, 7, 9]] = True
    return {"values": values, "observed": observed}


def by_variable(log_q: Array) -> Array:
    """Softmax over the entries of each variable."""
    sums = np.zeros((len(log_q), 10))
    e = np.exp(log_q)
    np.add.at(sums.T, OWNERS, e.T)
    found: Array = e / sums[:, OWNERS]
    return found


def test_the_potentials_are_monotone(strong: dict[str, Array]) -> None:
    assert np.linalg.eigvalsh(np.eye(22) - potentials(strong)).min() >= 0.1 - 1e-6
    assert np.abs(potentials(strong)).sum(1).max() > 2  # not a contraction by their mere size


def test_beliefs_are_the_mean_field_of_what_is_observed(session: lamina.Session, strong: dict[str, Array], record: Record) -> None:
    request = asked()
    q = session(**request, start=np.zeros((4, 22), np.float32))["beliefs"].astype(np.float64)
    wanted = by_variable(q @ potentials(strong) + strong["bias"])
    first = np.cumsum([0, *np.repeat(STATES, COUNTS)])[:-1]
    one_hot = np.arange(22) == (first + request["values"])[:, OWNERS]
    wanted = np.where(request["observed"][:, OWNERS], one_hot, wanted)
    np.testing.assert_allclose(q, wanted, atol=1e-5)
    assert q[0].min() > 0.01  # the beliefs are not at a corner, where any potentials would do
    for variant in lamina.load(SPEC).variants:
        record(SPEC, variant, "parity", f"{np.abs(q - wanted).max():.0e} from the paper's fixed point, small")


def test_the_start_does_not_matter(session: lamina.Session) -> None:
    starts = [8 * uniform(f"start {i}", (4, 22)) for i in range(6)]
    found = np.stack([session(**asked(), start=start)["beliefs"] for start in starts])
    assert np.ptp(found, axis=0).max() < 1e-5


def test_one_compiled_file_completes_and_classifies(tmp_path: Path) -> None:
    """A pixel and two of the label's classes have potentials, as large as the norm lets them be: c^2 = 0.9 / 2 for each pair of states."""
    spec = lamina.load(SPEC, variant="joint", small=True)
    weights = {name: np.zeros(tuple(value.shape), np.float32) for name, value in lamina.to_torch(spec).state_dict().items()}
    weights["factors.0.weight"][0, 0] = [5, -5]
    weights["factors.2.weight"][0, 0] = [0, 5, 0, -5]
    save_file(weights, tmp_path / "weights.safetensors")
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))
    values = np.array([[1, *[0] * 9], [0] * 10, [0] * 9 + [3], [0] * 9 + [1]])
    observed = np.array([[True, *[False] * 9]] * 2 + [[False] * 9 + [True]] * 2)
    beliefs = session(values=values, observed=observed)["beliefs"]
    high, low = np.exp(0.45), np.exp(-0.45)
    np.testing.assert_allclose(beliefs[0, 18:], np.array([1, high, 1, low]) / (2 + high + low), atol=1e-5)
    np.testing.assert_allclose(beliefs[1, 18:], np.array([1, low, 1, high]) / (2 + high + low), atol=1e-5)
    np.testing.assert_allclose(beliefs[2, :2], np.array([high, low]) / (high + low), atol=1e-5)
    np.testing.assert_allclose(beliefs[3, :2], np.array([low, high]) / (high + low), atol=1e-5)
