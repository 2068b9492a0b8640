"""What `lamina run` and `lamina bench` do, over a bundle made by hand."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import handmade
import ml_dtypes
import numpy as np
import pytest

from lamina.runtime import InputError, Session
from lamina.runtime.bench import bench
from lamina.runtime.manifest import Manifest, read_manifest
from lamina.runtime.run import run, save_outputs
from lamina.runtime.samples import sample_inputs

OUTPUTS = {"y": np.float32([[1.5, 2]]), "file": np.array([1, 2])}


def test_run_from_a_literal_and_a_file(tmp_path: Path) -> None:
    session = Session(handmade.write(tmp_path))
    np.save(tmp_path / "x.npy", np.float32([[4, 5, 6]]))
    np.testing.assert_array_equal(run(session, {"x": ["[[1, 2, 3]]", str(tmp_path / "x.npy")]})["y"], [[2, 4, 6], [8, 10, 12]])
    with pytest.raises(InputError, match="`X` is not an input"):
        run(session, {"x": "[[1, 2, 3]]", "X": "1"})
    with pytest.raises(InputError, match="the bundle carries no tokenizer"):
        run(session, {"text": "hello"})


def test_saved_outputs_read_back(tmp_path: Path) -> None:
    save_outputs(OUTPUTS, tmp_path / "a.npz")
    save_outputs(OUTPUTS, tmp_path / "a.json")
    save_outputs({"y": OUTPUTS["y"].astype(ml_dtypes.bfloat16)}, tmp_path / "a.npy")
    with np.load(tmp_path / "a.npz") as arrays:
        assert set(arrays) == {"y", "file"}
        np.testing.assert_array_equal(arrays["file"], [1, 2])
        assert arrays["y"].dtype == np.float32
    assert json.loads((tmp_path / "a.json").read_text()) == {"y": [[1.5, 2.0]], "file": [1, 2]}
    assert np.load(tmp_path / "a.npy").dtype == np.float32
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.npy", "a.npz"]


@pytest.mark.parametrize(
    ("name", "outputs", "expected"),
    [
        ("a.csv", OUTPUTS, r"end it with \.npz, \.npy, \.json"),
        ("a.npy", OUTPUTS, r"a\.npy holds one array, and the outputs are y, file"),
        ("a.json", {"y": np.float32([np.nan])}, "`y` holds values that are not finite"),
        ("none/a.npz", OUTPUTS, "is not a folder to write"),
    ],
)
def test_outputs_that_cannot_be_saved(tmp_path: Path, name: str, outputs: Any, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        save_outputs(outputs, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def declared(folder: Path) -> Manifest:
    kinds = {"f": "float32", "h": "bfloat16", "i": "int64", "k": "int8", "m": "int64", "b": "bool"}
    inputs = [{"name": name, "dtype": dtype, "shape": ["N", "2 * N", 3]} for name, dtype in kinds.items()]
    inputs[2] |= {"below": 50}
    inputs[3] |= {"below": 10**9}
    inputs.append({"name": "s", "dtype": "int64", "shape": []})
    return read_manifest(handmade.write(folder, inputs=inputs, dims={"N": {"min": 1, "opt": 5, "max": 2**40, "multiple_of": 4}}))


def test_samples(tmp_path: Path) -> None:
    manifest = declared(tmp_path)
    x = sample_inputs(manifest, {"N": 8}, seed=1)
    assert all(x[name].shape == (8, 16, 3) for name in "fhikmb")
    assert [str(x[name].dtype) for name in "fhikmb"] == ["float32", "bfloat16", "int64", "int8", "int64", "bool"]
    assert abs(x["f"].mean()) < 0.2
    assert abs(x["f"].std() - 1) < 0.2
    assert set(np.unique(x["i"])) <= set(range(50))
    assert len(np.unique(x["i"])) > 20
    assert x["k"].min() >= 0
    assert set(np.unique(x["m"])) == {0, 1}
    assert (x["m"][..., 0] == 1).all()
    assert set(np.unique(x["b"])) == {False, True}
    assert x["s"].shape == ()
    assert sample_inputs(manifest, {})["f"].shape == (4, 8, 3)


def test_samples_depend_on_seed_and_name_only(tmp_path: Path) -> None:
    manifest = declared(tmp_path)
    first, again, other = (sample_inputs(manifest, {"N": 4}, seed) for seed in (1, 1, 2))
    alone = sample_inputs(manifest.model_copy(update={"inputs": manifest.inputs[:1]}), {"N": 4}, 1)
    np.testing.assert_array_equal(first["f"], again["f"])
    np.testing.assert_array_equal(first["f"], alone["f"])
    assert (first["f"] != other["f"]).any()
    # Written down once: the same on every machine.
    np.testing.assert_array_equal(first["i"][0, 0], FROZEN)


FROZEN = [17, 1, 21]


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        ({"M": 1}, "`M` is not a dim; the dims are N"),
        ({"N": 3}, "N = 3, and N must be 1 to 1099511627776, a multiple of 4"),
        ({"N": 2**40}, "GiB; choose smaller dims"),
    ],
)
def test_dims_that_will_not_do(tmp_path: Path, dims: dict[str, int], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        sample_inputs(declared(tmp_path), dims)


def test_bench_counts_and_orders(tmp_path: Path) -> None:
    session = Session(handmade.write(tmp_path), threads=1)
    result = bench(session, {"N": 4}, warmup=1, repeats=9)
    assert (result.target, result.dims, result.batch, result.repeats) == ("onnx", {"N": 4}, 4, 9)
    assert 0 < result.p10_ms <= result.median_ms <= result.p90_ms < 100
    assert result.throughput == pytest.approx(4 / (result.median_ms / 1e3))
    assert bench(session, warmup=0, repeats=1).dims == {"N": 2}
    with pytest.raises(InputError, match="give at least 1 and 0"):
        bench(session, repeats=0)


def test_bench_measures_wall_clock_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(handmade.write(tmp_path))
    calls = []
    monkeypatch.setattr(Session, "run", lambda self, inputs: (calls.append(1), time.sleep(0.02)))
    result = bench(session, warmup=2, repeats=3)
    assert len(calls) == 5
    assert 20 <= result.median_ms < 60
