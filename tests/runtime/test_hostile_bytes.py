"""Damaged files give the runtime's own errors, whatever byte is wrong."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path

import handmade
import numpy as np
import pytest
from PIL import Image

from lamina.runtime import BundleError, InputError, Session
from lamina.runtime.inputs import read_input
from lamina.runtime.manifest import read_manifest

ROUNDS = 200


def damaged(data: bytes, seed: int) -> bytes:
    """The bytes with one to five of them changed, mostly in the first 400, and sometimes cut short."""
    random, changed = np.random.default_rng(seed), bytearray(data)
    for _ in range(random.integers(1, 6)):
        end = min(len(changed), 400) if random.random() < 0.7 else len(changed)
        changed[random.integers(0, end)] = random.integers(0, 256)
    return bytes(changed[: random.integers(0, len(changed))] if random.random() < 0.2 else changed)


def array_file(path: Path) -> None:
    array = np.zeros((1, 3, 8, 8), np.float32)
    np.save(path, array) if path.suffix == ".npy" else np.savez_compressed(path, x=array)


def image_file(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)


@pytest.mark.parametrize(("suffix", "write"), [(".npy", array_file), (".npz", array_file), (".png", image_file), (".jpg", image_file)])
def test_inputs(tmp_path: Path, suffix: str, write: Callable[[Path], None]) -> None:
    how = {"inputs": [{"name": "x", "dtype": "float32", "shape": ["N", 3, "H", "W"]}], "preprocess": {"x": {"resize": 30, "crop": 24}}}
    manifest = read_manifest(handmade.write(tmp_path / "bundle", **how, dims={name: {"max": 64} for name in "NHW"}))
    path = tmp_path / f"a{suffix}"
    write(path)
    data, refused = path.read_bytes(), 0
    for seed in range(ROUNDS):
        path.write_bytes(damaged(data, seed))
        with contextlib.suppress(InputError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            refused += 1
            read_input(path, manifest.inputs[0], manifest)
            refused -= 1
    assert 0 < refused <= ROUNDS


def test_manifests(tmp_path: Path) -> None:
    data = (handmade.write(tmp_path) / "manifest.json").read_bytes()
    refused = 0
    for seed in range(ROUNDS):
        (tmp_path / "manifest.json").write_bytes(damaged(data, seed))
        with contextlib.suppress(BundleError):
            refused += 1
            read_manifest(tmp_path)
            refused -= 1
    assert refused > ROUNDS // 2


def test_models(tmp_path: Path) -> None:
    folder = handmade.write(tmp_path)
    data = (folder / "model.onnx").read_bytes()
    for seed in range(ROUNDS):
        (folder / "model.onnx").write_bytes(damaged(data, seed).ljust(len(data), b"\0"))
        with pytest.raises(BundleError, match="does not have the SHA-256"):
            Session(folder)
        with contextlib.suppress(BundleError, InputError):
            Session(folder, verify=False, threads=1)(x=np.zeros((2, 3), np.float32))
