"""The shared table, held to a twin in plain Python: its hash in integers without end, its network in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evidence import Record
from fill import fill
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "embedding" / "unified_embedding.yaml"
PRIME = 2**31 - 1
Array = np.ndarray


def coefficients(count: int, seed: int) -> list[tuple[int, ...]]:
    """a, b and c of each lookup, from the generator that C++ calls minstd_rand: first every a, then every b, then every c."""
    drawn, state = [], seed
    for _ in range(3 * count):
        state = state * 48271 % PRIME
        drawn.append(state)
    return list(zip(drawn[:count], drawn[count : 2 * count], drawn[2 * count :], strict=True))


def looked_up(ids: Array, lookups: list[int], rows: int, seed: int = 1) -> list[list[int]]:
    """For each sample, the rows of the table that its fields use, one after the other."""
    of = [field for field, count in enumerate(lookups) for _ in range(count)]
    return [
        [
            (a * (int(sample[f]) % 2**31) + b * (int(sample[f]) // 2**31 % PRIME) + c) % PRIME % rows
            for f, (a, b, c) in zip(of, coefficients(len(of), seed), strict=True)
        ]
        for sample in ids
    ]


def twin(ids: Array, w: dict[str, Array], lookups: list[int]) -> Array:
    """The whole model: the rows side by side, cross layers beside a network, one linear."""
    e = w["table"].astype(np.float64)[looked_up(ids, lookups, len(w["table"]))].reshape(len(ids), -1)
    x, deep = e, e
    for i in range(2):
        x = x + e * (x @ w[f"cross.{i}.linear.weight"].T + w[f"cross.{i}.linear.bias"])
        deep = np.maximum(deep @ w[f"deep.{i}.linear.weight"].T + w[f"deep.{i}.linear.bias"], 0)
    return np.concatenate([x, deep], 1) @ w["head.weight"].T + w["head.bias"]


def any_ids(shape: tuple[int, ...]) -> Array:
    return np.random.Philox(key=7).random_raw(int(np.prod(shape))).view(np.int64).reshape(shape)


@pytest.mark.parametrize(
    ("variant", "lookups"), {"multiplexed": [1, 1, 2, 2, 4, 1, 3, 1], "equal_widths": [2] * 8, "one_lookup": [1] * 8}.items()
)
def test_equals_its_twin(tmp_path: Path, variant: str, lookups: list[int], record: Record) -> None:
    """At ids of all 64 bits. The table is the only weight that ids reach, whatever the fields' widths."""
    spec = lamina.load(SPEC, variant=variant, small=True)
    weights = {p.name: fill(p.name, p.shape) for p in elaborate(spec).graph.parameters()}
    assert weights["table"].shape == (50, 3)
    assert weights["head.weight"].shape == (1, 3 * sum(lookups) + 6)
    save_file(weights, tmp_path / "weights.safetensors")
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))
    ids = any_ids((64, len(lookups)))
    ids[0], ids[1] = 0, np.iinfo(np.int64).min
    want = twin(ids, weights, lookups)
    error = np.abs(session(ids=ids)["logit"] - want).max() / np.abs(want).max()
    assert error <= 1e-5
    record(SPEC, variant, "parity", f"{error:.0e} of a twin in plain integers, small")
