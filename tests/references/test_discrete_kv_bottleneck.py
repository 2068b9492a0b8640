"""What the bottleneck is for: learning touches only the values in use, and the values of a compiled model can be exchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from evidence import Record
from fill import uniform
from safetensors.numpy import save_file

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "memory" / "discrete_kv_bottleneck.yaml"
Array = np.ndarray[Any, Any]


def test_a_step_changes_the_values_that_were_looked_up_and_no_other_weight() -> None:
    module = lamina.to_torch(lamina.load(SPEC, variant="values", small=True))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = module(torch.from_numpy(uniform("features", (3, 2, 16))))
    torch.nn.functional.nll_loss(found["probabilities"].log(), torch.tensor([0, 1, 2])).backward()
    torch.optim.SGD(module.parameters(), lr=1.0).step()
    changed = {name: (value != before[name]).any(-1) for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    (touched,) = changed.values()
    used = torch.zeros(4, 6, dtype=torch.bool)
    used[torch.arange(4), found["codes"].reshape(-1, 4)] = True
    assert 0 < used.sum() < 24
    assert torch.equal(touched, used)


def test_the_values_of_a_compiled_model_can_be_exchanged(tmp_path: Path, record: Record) -> None:
    session = lamina.Session(lamina.compile(lamina.load(SPEC, variant="updatable", small=True), tmp_path / "bundle"))
    features, table = uniform("features", (2, 5, 16)), uniform("table", (4, 6, 3))
    first = session(features=features, table=table)
    assert np.allclose(first["memories"], looked_up(table, first["codes"]), atol=1e-6)
    table[0, first["codes"][0, 0, 0]] += 1
    second = session(features=features, table=table)
    assert np.array_equal(first["codes"], second["codes"])
    assert np.allclose(second["memories"], looked_up(table, first["codes"]), atol=1e-6)
    record(SPEC, "updatable", "parity", "the look-up in NumPy to 1e-06, small")
    assert not np.allclose(first["memories"], second["memories"], atol=0.1)


def looked_up(table: Array, codes: Array) -> Array:
    return np.mean([table[head, codes[..., head]] for head in range(len(table))], axis=0)


def test_sliced_codes_are_the_nearest_keys(tmp_path: Path, record: Record) -> None:
    spec = lamina.load(SPEC, variant="sliced", small=True)
    keys = lamina.to_torch(spec).state_dict()["keys"].numpy().astype(np.float64)
    features = uniform("features", (3, 7, 16))
    codes = lamina.Session(lamina.compile(spec, tmp_path / "bundle"))(features=features)["codes"]
    slices = features.reshape(3, 7, 4, 1, 4)
    assert np.array_equal(codes, ((slices - keys) ** 2).sum(-1).argmin(-1))
    record(SPEC, "sliced", "parity", "the nearest keys in NumPy, exactly, small")


@pytest.mark.parametrize("variant", ["values", "sliced", "updatable"])
def test_the_graph_is_a_product_an_argmin_and_a_gather(tmp_path: Path, variant: str) -> None:
    """Half the keys' squared lengths are no longer computed: the keys are frozen."""
    bundle = lamina.compile(lamina.load(SPEC, variant=variant, small=True), tmp_path / "bundle")
    operators = [node.op_type for node in onnx.load(bundle / "model.onnx").graph.node]
    in_order = [name for name in operators if name in ("MatMul", "ArgMin", "Gather")]
    assert in_order[-3:] == ["MatMul", "ArgMin", "Gather"]
    assert len(in_order) == 3 + (variant != "sliced")  # a random projection is one product more


def test_of_equal_keys_the_first_is_taken(tmp_path: Path) -> None:
    spec = lamina.load(SPEC, variant="sliced", small=True)
    module = lamina.to_torch(spec)
    weights = {name: value.numpy().copy() for name, value in module.state_dict().items()}
    weights["keys"][:, 3:] = weights["keys"][:, :3]  # the last three are the first three again
    save_file(weights, tmp_path / "weights.safetensors")
    module.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    features = uniform("features", (5, 8, 16))
    codes = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))(features=features)["codes"]
    assert np.array_equal(codes, module(torch.from_numpy(features))["codes"].numpy())
    assert set(codes.flatten().tolist()) == {0, 1, 2}


def test_joined_heads_stand_side_by_side(tmp_path: Path, record: Record) -> None:
    spec = lamina.load(SPEC, variant="joined", small=True)
    values = lamina.to_torch(spec).state_dict()["values"].numpy()
    found = lamina.Session(lamina.compile(spec, tmp_path / "bundle"))(features=uniform("features", (2, 5, 16)))
    want = np.concatenate([values[head, found["codes"][..., head]] for head in range(4)], axis=-1)
    assert np.array_equal(found["memories"], want)
    record(SPEC, "joined", "parity", "the look-up in NumPy, exactly, small")
