"""Inputs and outputs that only some configs have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lamina
from lamina.runtime.manifest import read_manifest

SPEC = """\
lamina: 1
model: ports
config: {cross: false, norms: false}
variants: {alone: {}, both: {cross: true, norms: true}}
inputs:
  a: float32[N, T]
  memory: {type: "float32[N, S]", if: cross}
dims: {N: {min: 1, opt: 1, max: 8}, T: {min: 1, opt: 2, max: 8}, S: {min: 1, opt: 2, max: 8}}
body:
  - y = a * 2 if memory is null else a + sum(memory, dims=1, keepdim=True)
  - if: norms
    then: ["size = norm(y, dims=1)"]
outputs:
  y: float32[N, T]
  size: {type: "float32[N]", if: norms}
preprocess: {}
"""
A, MEMORY = np.float32([[1, 2, 2]]), np.float32([[3, 4]])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "ports.yaml").write_text(SPEC.replace("preprocess: {}\n", ""))
    return tmp_path / "ports.yaml"


def test_an_absent_input_is_null_and_an_absent_output_is_not_made(path: Path) -> None:
    bundle = lamina.compile(lamina.load(path, variant="alone"), path.parent / "alone")
    outputs = lamina.Session(bundle)(a=A)
    assert {k: v.tolist() for k, v in outputs.items()} == {"y": [[2, 4, 4]]}
    assert set(read_manifest(bundle).dims) == {"N", "T"}


def test_present_ones_are_as_if_they_were_declared_plainly(path: Path) -> None:
    bundle = lamina.compile(lamina.load(path, variant="both"), path.parent / "both")
    outputs = lamina.Session(bundle)(a=A, memory=MEMORY)
    assert {k: v.tolist() for k, v in outputs.items()} == {"y": [[8, 9, 9]], "size": [pytest.approx(226**0.5)]}
    assert set(read_manifest(bundle).dims) == {"N", "T", "S"}


def test_what_is_said_of_an_absent_input_does_not_reach_the_bundle(path: Path) -> None:
    image = "preprocess: {picture: {resize: 8, crop: 8}}\ntokenizer: {file: tokenizer.json, ids: ids}\n"
    ports = '  picture: {type: "float32[N, 3, 8, 8]", if: cross}\n  ids: {type: "int64[N, T]", if: cross}\n'
    path.write_text(SPEC.replace("preprocess: {}\n", image).replace("dims:", ports + "dims:", 1))
    manifest = json.loads((lamina.compile(lamina.load(path), path.parent / "bundle") / "manifest.json").read_text())
    assert (manifest["preprocess"], manifest["tokenizer"]) == (None, None)
