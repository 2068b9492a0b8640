"""NaN and infinity in a checkpoint are named by the weight's path and their place, whatever the file's format and dtype."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from gguf_files import random_blocks, write_gguf
from safetensors.torch import save_file

import lamina
from lamina.compiler.weights.finite import checked, finite
from lamina.compiler.weights.tensor import ArrayTensor
from lamina.schema.diagnostics import SpecError

SPEC = """
lamina: 1
model: two
config: {width: 32}
inputs: {x: "float32[N, width]"}
dims: {N: {min: 1, max: 8}}
body:
  - {linear: {out: width, bias: false}, name: fc1}
  - {linear: {out: width, bias: false}, name: fc2}
outputs: {y: "float32[N, width]"}
weights: {rename: {"a.*": "fc1.*", "b.*": "fc2.*"}}
"""
DTYPES = {"float16": np.float16, "float32": np.float32, "float64": np.float64, "bfloat16": ml_dtypes.bfloat16}


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_finite(dtype: str) -> None:
    """Every 16-bit pattern of the narrow dtypes, and the edges of the wide ones, against NumPy."""
    kind = np.dtype(DTYPES[dtype])
    if kind.itemsize == 2:
        values = np.arange(1 << 16, dtype=np.uint16).view(kind)
    else:
        top = np.finfo(kind).max
        values = np.array([0, -0.0, 1, top, -top, np.finfo(kind).smallest_subnormal, np.inf, -np.inf, np.nan, -np.nan], kind)
    with np.errstate(invalid="ignore"):
        expected = np.isfinite(values.astype(np.float64))
    for value, is_finite in zip(values, expected, strict=True):
        assert finite(np.array([1, value], kind), dtype) == is_finite
    good = values[expected]
    assert finite(good, dtype)
    assert finite(good[: good.size // 2 * 2].reshape(2, -1).T, dtype)
    assert finite(good[:0], dtype)
    assert not finite(values, dtype)


def test_integers_are_as_they_are() -> None:
    tensor = ArrayTensor("n", "int64", (1,), np.array([-1]))
    assert checked(tensor) is tensor


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_place_is_that_of_the_first(bad: float) -> None:
    array = np.zeros((700, 600), np.float32)
    array[650, 7] = array[699, 0] = bad
    tensor = checked(ArrayTensor("w", "float32", array.shape, array))
    for read in (tensor.numpy, lambda: list(tensor.chunks())):
        with pytest.raises(SpecError, match=r"the weight `w` has a NaN or an infinity at \[650, 7\] of \[700, 600\]"):
            read()


def weights(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    tensors = {"a.weight": torch.ones(32, 32, dtype=dtype), "b.weight": torch.ones(32, 32, dtype=dtype)}
    tensors["b.weight"][3, 5] = torch.nan
    return tensors


def _safetensors(folder: Path) -> Path:
    save_file(weights(torch.float16), folder / "m.safetensors")
    return folder / "m.safetensors"


def _torch(folder: Path) -> Path:
    torch.save(weights(torch.bfloat16), folder / "m.pt")
    return folder / "m.pt"


def _gguf(folder: Path) -> Path:
    return write_gguf(folder / "m.gguf", {k: v.numpy() for k, v in weights().items()})


def _quantised(folder: Path) -> Path:
    raw = random_blocks("Q4_1", (32, 32))
    raw[3, 2:4] = np.array([np.nan], np.float16).view(np.uint8)  # the minimum of row 3
    return write_gguf(folder / "m.gguf", {"a.weight": np.ones((32, 32), np.float32), "b.weight": (raw, "Q4_1")})


@pytest.mark.parametrize("target", ["onnx", "torch"])
@pytest.mark.parametrize(("write", "column"), [(_safetensors, 5), (_torch, 5), (_gguf, 5), (_quantised, 0)])
def test_a_checkpoint_with_nan_makes_no_bundle(write: Any, column: int, target: str, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(SPEC)
    checkpoint = write(tmp_path)
    with pytest.raises(SpecError, match=rf"the weight `fc2.weight` has a NaN or an infinity at \[3, {column}\] of \[32, 32\]"):
        lamina.compile(lamina.load(tmp_path / "two.yaml"), tmp_path / "bundle", targets=[target], weights=checkpoint)
    assert not (tmp_path / "bundle").exists()


def test_numbers_that_are_not_ours_are_not_looked_at(tmp_path: Path) -> None:
    tensors = {**weights(), "mask": torch.full((4,), -torch.inf)}
    tensors["b.weight"][3, 5] = 0
    save_file(tensors, tmp_path / "m.safetensors")
    (tmp_path / "two.yaml").write_text(SPEC.replace("weights: {", 'weights: {ignore: ["mask"], '))
    lamina.compile(lamina.load(tmp_path / "two.yaml"), tmp_path / "bundle", targets=["onnx"], weights=tmp_path / "m.safetensors")
