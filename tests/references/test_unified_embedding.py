"""The shared table, held to a twin: its hash as docs/examples/hash_rows.py has it in integers without end, its network in float64."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import torch
from evidence import Record
from fill import fill
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "embedding" / "unified_embedding.yaml"
HOST = run_path(str(Path(__file__).parents[2] / "docs" / "examples" / "hash_rows.py"))
Array = np.ndarray


def looked_up(ids: Array, lookups: list[int], rows: int) -> list[list[int]]:
    """For each sample, the rows of the table that its fields use, one after the other."""
    return [HOST["hash_rows"]([int(i) for i in sample], lookups, rows) for sample in ids]


def twin(ids: Array, w: dict[str, Array], lookups: list[int]) -> Array:
    """The whole model: the rows side by side, cross layers beside a network, one linear."""
    table = w["embedding.table"].astype(np.float64)
    e = table[looked_up(ids, lookups, len(table))].reshape(len(ids), -1)
    crosses = "interaction.cross.0.linear.weight" in w
    at = "interaction.deep.deep" if crosses else "interaction.deep"
    x, deep = e, e
    for i in range(2):
        if crosses:
            x = x + e * (x @ w[f"interaction.cross.{i}.linear.weight"].T + w[f"interaction.cross.{i}.linear.bias"])
        deep = np.maximum(deep @ w[f"{at}.{i}.linear.weight"].T + w[f"{at}.{i}.linear.bias"], 0)
    return (np.concatenate([x, deep], 1) if crosses else deep) @ w["head.weight"].T + w["head.bias"]


def any_ids(shape: tuple[int, ...]) -> Array:
    return np.random.Philox(key=7).random_raw(int(np.prod(shape))).view(np.int64).reshape(shape)


@pytest.mark.parametrize(
    ("variant", "lookups"),
    {"multiplexed": [1, 1, 2, 2, 4, 1, 3, 1], "equal_widths": [2] * 8, "one_lookup": [1] * 8, "deep": [1, 1, 2, 2, 4, 1, 3, 1]}.items(),
)
def test_equals_its_twin(tmp_path: Path, variant: str, lookups: list[int], record: Record) -> None:
    """In ONNX Runtime and PyTorch, at ids of all 64 bits. The table is the only weight that ids reach, whatever the fields' widths."""
    spec = lamina.load(SPEC, variant=variant, small=True)
    weights = {p.name: fill(p.name, p.shape) for p in elaborate(spec).graph.parameters()}
    assert weights["embedding.table"].shape == (50, 3)
    assert weights["head.weight"].shape == (1, 6 if variant == "deep" else 3 * sum(lookups) + 6)
    save_file(weights, tmp_path / "weights.safetensors")
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))
    ids = any_ids((64, len(lookups)))
    ids[0], ids[1] = 0, np.iinfo(np.int64).min
    want = twin(ids, weights, lookups)
    module = lamina.to_torch(spec)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    with torch.inference_mode():
        found = [session(ids=ids)["logit"], module(ids=torch.from_numpy(ids)).numpy()]
    error = max(np.abs(got - want).max() for got in found) / np.abs(want).max()
    assert error <= 1e-5
    record(SPEC, variant, "parity", f"{error:.0e} of a twin in plain integers, small")


def test_a_text_has_one_id_everywhere() -> None:
    assert HOST["hash_text"]("lamina") == int.from_bytes(bytes.fromhex("0f5cd04b6f025c64"), "little", signed=True)  # of `b2sum -l 64`
