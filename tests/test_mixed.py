"""A precision for each layer by its measured effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import lamina
from lamina.mixed import Mixed, mixed
from lamina.runtime import InputError, Session
from lamina.runtime.manifest import read_manifest

SPEC = """
lamina: 1
model: m
inputs: {x: "float32[N, 64]"}
dims: {N: {min: 1, opt: 4, max: 32}}
body:
  - {linear: 64, name: a}
  - gelu
  - {linear: 64, name: b}
  - y = x + linear(tanh(x), 64, name='c')
outputs: {y: "float32[N, 64]"}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """`a` is the one that matters: its outputs are all that is left of it."""
    (tmp_path / "m.yaml").write_text(SPEC)
    rng = np.random.default_rng(1)
    scales = {"a": 1.0, "b": 0.5, "c": 0.02}
    made = {f"{n}.weight": s * rng.standard_normal((64, 64), np.float32) for n, s in scales.items()}
    made |= {f"{n}.bias": np.zeros(64, np.float32) for n in scales}
    save_file({name: array.astype(np.float32) for name, array in made.items()}, tmp_path / "w.safetensors")
    np.savez(tmp_path / "x.npz", x=rng.standard_normal((48, 64), np.float32))
    return tmp_path


def chosen(files: Path, **limit: Any) -> Mixed:
    return mixed(lamina.load(files / "m.yaml"), [files / "x.npz"], ("int8", "int4"), weights=files / "w.safetensors", **limit)


def outputs(files: Path, name: str) -> Any:
    x = np.load(files / "x.npz")["x"]
    with Session(files / name, backend="onnxruntime") as session:
        return np.concatenate([session(x=part)["y"] for part in (x[:32], x[32:])]).astype(np.float64)


def test_the_choice_is_within_the_error_when_it_is_compiled(files: Path) -> None:
    """The spec with the section that it gives, compiled as any other, has the error that was measured."""
    found = chosen(files, error=0.02)
    assert found.measured <= 0.02
    assert found.precisions["c.weight"] == "int4"
    assert found.precisions["a.weight"] != "int4"
    assert found.size < found.whole / 3
    assert {(o.weight, o.precision) for o in found.options} == {(f"{n}.weight", p) for n in "abc" for p in ("int8", "int4")}
    alone = {(o.weight, o.precision): o.error for o in found.options}
    assert alone["a.weight", "int4"] > alone["a.weight", "int8"] > 0
    assert alone["a.weight", "int4"] > 0.02 > alone["c.weight", "int4"]
    (files / "mixed.yaml").write_text(SPEC + "precision: " + json.dumps(found.rules()) + "\n")
    lamina.compile(lamina.load(files / "m.yaml"), files / "exact", weights=files / "w.safetensors")
    folder = lamina.compile(lamina.load(files / "mixed.yaml"), files / "mixed", weights=files / "w.safetensors")
    target = read_manifest(folder).targets.onnxruntime
    assert target is not None
    assert dict(target.precisions) == found.rules()
    want = outputs(files, "exact")
    error = float(np.linalg.norm(outputs(files, "mixed") - want) / np.linalg.norm(want))
    assert error == pytest.approx(found.measured, rel=1e-4)
    assert found.predicted == pytest.approx(found.measured, rel=0.25)


def test_limits(files: Path) -> None:
    assert set(chosen(files, error=0.0).precisions.values()) == {"float32"}
    sizes = [chosen(files, size=size).size for size in (1, 9000, 10**6)]
    assert sizes[0] == 3 * 64 * 64 * 5 // 8  # 4 bits, and a scale and a minimum of 16 for 32 of them
    assert sizes[0] <= sizes[1] <= 9000 < sizes[2] == 3 * 64 * 64 * 4
    with pytest.raises(ValueError, match="one of `error` and `size`"):
        chosen(files)
    with pytest.raises(InputError, match="no file or folder"):
        mixed(lamina.load(files / "m.yaml"), ["nowhere"], error=0.1)


def test_nothing_to_choose(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        'lamina: 1\nmodel: m\ninputs: {x: "float32[2, 4]"}\nbody: [linear: 4]\noutputs: {y: "float32[2, 4]"}\n'
    )
    with pytest.raises(InputError, match="the model has no layer that may be in int8 or int4"):
        mixed(lamina.load(tmp_path / "m.yaml"), ["x=[[1, 2, 3, 4], [1, 2, 3, 4]]"], error=0.1)


CONVOLVED = """
lamina: 1
model: m
inputs: {x: "float32[N, 8, 8, 8]"}
dims: {N: {min: 1, opt: 4, max: 32}}
body:
  - {conv: {out: 32, kernel: 3}, name: one}
  - relu
  - {conv: {out: 16, kernel: 3, padding: 1}, name: two}
  - relu
  - flatten
  - {linear: 32, name: head}
outputs: {y: "float32[N, 32]"}
"""


def test_convolutions_are_calibrated_once(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(CONVOLVED)
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).standard_normal((16, 8, 8, 8), np.float32))
    found = mixed(lamina.load(tmp_path / "m.yaml"), [tmp_path / "x.npz"], ("int8-static", "int8-dynamic"), error=0.5)
    assert [(o.weight, o.precision) for o in found.options] == [
        ("head.weight", "int8-static"),
        ("head.weight", "int8-dynamic"),
        ("one.weight", "int8-static"),
        ("two.weight", "int8-static"),
    ]
    assert found.precisions["two.weight"] == "int8-static"
    assert found.size < found.whole / 3.5
