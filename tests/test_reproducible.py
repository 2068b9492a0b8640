"""The same spec gives the same bundle, byte for byte: in another process, another folder, under another hash seed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

ROOT = Path(__file__).parent.parent
VISION = ROOT / "specs" / "vision"
VIT = "vit --variant tiny --set depth=2 --set size=32"
RESNET = "resnet --variant r18 --set depths=[1,1,1,1] --set width=8 --set classes=10"
TWO_DIMS = """
lamina: 1
model: two_dims
inputs: {image: "float32[N, 3, H, H]"}
dims: {N: {min: 1, opt: 2, max: 8}, H: {min: 8, opt: 16, max: 64, multiple_of: 8}}
body: [conv: {out: 8, kernel: 3, padding: 1}, relu, "mean(x, [2, 3])"]
outputs: {y: "float32[N, 8]"}
"""


def compiled(spec: str, folder: Path, hash_seed: str, *options: str) -> dict[str, bytes]:
    """Every file of the bundle that the command makes in `folder`."""
    command = [sys.executable, "-m", "lamina", "compile", spec, "-o", "bundle", *options]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT), "LAMINA_CACHE": str(folder / "cache")}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return {p.relative_to(folder / "bundle").as_posix(): p.read_bytes() for p in (folder / "bundle").rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("model", "targets"),
    [
        (VIT, ("onnx", "onnxruntime")),
        (RESNET, ("onnx", "onnxruntime")),
        (RESNET, ("tensorrt",)),
    ],
)
def test_bundles_are_the_same_bytes(model: str, targets: tuple[str, ...], tmp_path: Path) -> None:
    name, *settings = model.split()
    same_bytes(VISION / f"{name}.yaml", tmp_path, *settings, *(word for target in targets for word in ("--target", target)))


def test_exported_programs_are_the_same_bytes(tmp_path: Path) -> None:
    """Of two dynamic dims, which PyTorch may list either way round."""
    spec = tmp_path / "two_dims.yaml"
    spec.write_text(TWO_DIMS)
    same_bytes(spec, tmp_path, "--target", "torch")


def same_bytes(spec: Path, tmp_path: Path, *options: str) -> None:
    here, there = tmp_path / "here", tmp_path / "there" / "deeper"
    here.mkdir()
    (there / "copies").mkdir(parents=True)
    shutil.copy(spec, there / "copies")
    first = compiled(str(spec), here, "1", *options)
    second = compiled(f"copies/{spec.name}", there, "2", *options)
    assert first.keys() == second.keys()
    assert [file for file in first if first[file] != second[file]] == []


def test_engines_do_not_depend_on_the_length_of_a_path(tmp_path: Path) -> None:
    """The library's order follows from addresses, and these from all that was allocated and freed before."""
    engines = set()
    for length in (2, 15, 36, 100):
        folder = tmp_path / ("x" * length)
        folder.mkdir()
        name, *settings = RESNET.split()
        found = compiled(str(VISION / f"{name}.yaml"), folder, str(length), *settings, "--target", "tensorrt")
        engines |= {content for file, content in found.items() if file.endswith(".engine")}
    assert len(engines) == 1


def test_nodes_name_their_files_from_the_spec_s_folder(tmp_path: Path) -> None:
    """The main file by its name, the user's blocks by where they lie beside it, the library's as `blocks/NAME.yaml`."""
    folder = tmp_path / "mine" / "parts"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text("lamina: 1\nblocks: {twice: {body: [x + x]}}\n")
    (tmp_path / "mine" / "main.yaml").write_text(
        "lamina: 1\nmodel: m\nuse: [ffn, ./parts/own.yaml]\ninputs: {x: 'float32[N, 4]'}\ndims: {N: {min: 1, max: 4}}\n"
        "body: [twice, relu, mlp: 8]\noutputs: {y: 'float32[N, 4]'}\n"
    )
    compiled("mine/main.yaml", tmp_path, "1", "--target", "onnx")
    nodes = onnx.load(tmp_path / "bundle" / "model.onnx", load_external_data=False).graph.node
    files = {p.value.split(":")[0] for node in nodes for p in node.metadata_props if p.key == "lamina.source"}
    assert files == {"main.yaml", "parts/own.yaml", "blocks/ffn.yaml"}
