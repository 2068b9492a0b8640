"""Attention of every order against the paper's flat form: softmax(Q (K1 kr K2)^T / d) (V1 kr V2), kr of columns."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evidence import Record
from fill import fill, uniform
from safetensors.numpy import save_file
from torch.nn.functional import scaled_dot_product_attention

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "layer" / "kronecker_attention.yaml"
ORDERS = {"matrix": 2, "third": 3, "third_blocked": 3, "fourth": 4}
Array = np.ndarray[Any, Any]


def compiled(variant: str, folder: Path) -> tuple[lamina.Session, dict[str, Array]]:
    """A session, and its weights by path in float64."""
    spec = lamina.load(SPEC, variant, small=True)
    weights = {k: 2 * fill(k, tuple(v.shape)) for k, v in lamina.to_torch(spec).state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    session = lamina.Session(lamina.compile(spec, folder / variant, weights=folder / "weights.safetensors"))
    return session, {k: v.astype(np.float64) for k, v in weights.items()}


def khatri_rao(a: Array, b: Array) -> Array:
    """[i * j, d]: each column is the Kronecker product of the columns."""
    return np.stack([np.kron(a[:, k], b[:, k]) for k in range(a.shape[1])], axis=1)


def flat(x: Array, weights: dict[str, Array], order: int) -> Array:
    q = x @ weights["query.weight"].T
    keys, values = (reduce(khatri_rao, [x @ weights[f"{name}.{i}.weight"].T for i in range(order - 1)]) for name in ("keys", "values"))
    scores = np.exp(q @ keys.T / x.shape[1])
    return scores / scores.sum(1, keepdims=True) @ values


@pytest.mark.parametrize("variant", ORDERS)
def test_is_the_flat_form(variant: str, tmp_path: Path, record: Record) -> None:
    session, weights = compiled(variant, tmp_path)
    worst = 0.0
    for n, length in ((1, 1), (2, 3), (1, 12)):
        x = 3 * uniform(f"x {length}", (n, length, 6))
        wanted = np.stack([flat(row, weights, ORDERS[variant]) for row in x.astype(np.float64)])
        worst = max(worst, float(np.abs(session(x=x)["y"] - wanted).max() / np.abs(wanted).max()))
    assert worst < 1e-5
    record(SPEC, variant, "parity", f"{worst:.0e} of the flat form in NumPy, small")


def test_the_second_order_is_attention(tmp_path: Path) -> None:
    session, weights = compiled("matrix", tmp_path)
    x = 3 * uniform("x", (2, 9, 6))
    q, k, v = (torch.from_numpy(x.astype(np.float64) @ weights[name].T) for name in ("query.weight", "keys.0.weight", "values.0.weight"))
    wanted = scaled_dot_product_attention(q, k, v, scale=1 / 6).numpy()
    np.testing.assert_allclose(session(x=x)["y"], wanted, atol=1e-5 * np.abs(wanted).max())
