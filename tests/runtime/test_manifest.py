"""Manifests: what is read back, and what is refused with which words."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import handmade
import pytest

from lamina.runtime.errors import BundleError
from lamina.runtime.integrity import check_hashes
from lamina.runtime.manifest import Manifest, read_manifest

HASH = "0" * 64


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        read_manifest(folder)
    return str(caught.value)


def test_a_written_manifest_reads_back_and_dumps_canonically(tmp_path: Path) -> None:
    manifest = read_manifest(handmade.write(tmp_path))
    text = manifest.dump()
    assert Manifest.model_validate_json(text) == manifest
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert manifest.input("x").shape == ("N", 3)


def test_null_sections_are_absent(tmp_path: Path) -> None:
    manifest = read_manifest(handmade.write(tmp_path, preprocess=None, tokenizer=None))
    assert manifest.preprocess is None
    assert manifest.tokenizer is None


def test_not_a_bundle(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "none")
    assert "holds no manifest.json" in refused(tmp_path)
    (tmp_path / "file").write_text("x")
    assert "is a file, not a bundle folder" in refused(tmp_path / "file")


@pytest.mark.parametrize("text", ["", "{", "[1", '{"lamina": 1e999999', "[" * 100_000, "\xff"])
def test_not_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    assert "compile the spec again" in refused(tmp_path)


def test_a_newer_format_is_refused_by_its_number(tmp_path: Path) -> None:
    message = refused(handmade.write(tmp_path, lamina=2, something_new=True))
    assert "has format 2 and this lamina reads up to 1; upgrade lamina" in message


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "a//b", "./a", "C:\\x", "a\\b", "", "a\nb", "c:x", "x" * 300])
def test_file_names_stay_inside(tmp_path: Path, name: str) -> None:
    folder = handmade.write(tmp_path, {"model.onnx": b""})
    record = {"sha256": HASH, "bytes": 0}
    described = handmade.describe({"model.onnx": b""}) | {"files": {"model.onnx": record, name: record}}
    (folder / "manifest.json").write_text(json.dumps(described))
    assert "is not valid" in refused(folder)


def test_a_target_file_may_not_leave_the_bundle_either(tmp_path: Path) -> None:
    assert "is not a plain relative path" in refused(handmade.write(tmp_path, targets={"onnx": {"file": "../model.onnx", "opset": 21}}))


def test_a_link_out_of_the_bundle_is_refused(tmp_path: Path) -> None:
    folder = handmade.write(tmp_path / "bundle")
    outside = tmp_path / "outside.onnx"
    (folder / "model.onnx").rename(outside)
    (folder / "model.onnx").symlink_to(outside)
    assert "is a link that leads out of the bundle" in refused(folder)


def test_a_manifest_that_is_a_link_out_of_the_bundle_is_refused(tmp_path: Path) -> None:
    folder = handmade.write(tmp_path / "bundle")
    (folder / "manifest.json").rename(tmp_path / "elsewhere.json")
    (folder / "manifest.json").symlink_to(tmp_path / "elsewhere.json")
    assert "is a link that leads out of the bundle" in refused(folder)


def test_what_a_terminal_takes_for_commands_is_written_as_codes(tmp_path: Path) -> None:
    said = refused(handmade.write(tmp_path / "bundle", **{"\x1b[31m\u202e": 1}))
    assert "\\u001b[31m\\u202e" in said
    assert said.replace("\n", "").isprintable()


def test_a_link_inside_the_bundle_and_a_linked_bundle_are_fine(tmp_path: Path) -> None:
    folder = handmade.write(tmp_path / "bundle")
    (folder / "model.onnx").rename(folder / "real.onnx")
    (folder / "model.onnx").symlink_to("real.onnx")
    (tmp_path / "latest").symlink_to(folder)
    assert read_manifest(tmp_path / "latest").model == "scale"


def test_a_missing_a_truncated_and_a_special_file(tmp_path: Path) -> None:
    folder = handmade.write(tmp_path)
    size = (folder / "model.onnx").stat().st_size
    os.truncate(folder / "model.onnx", 10)
    assert f"has 10 bytes where the manifest records {size}" in refused(folder)
    (folder / "model.onnx").unlink()
    assert "model.onnx is missing" in refused(folder)
    os.mkfifo(folder / "model.onnx")
    assert "is not a regular file" in refused(folder)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("model.onnx")
    assert "model.onnx is missing" in refused(folder)


def test_a_changed_byte_fails_the_hash(tmp_path: Path) -> None:
    folder = handmade.write(tmp_path)
    manifest = read_manifest(folder)
    check_hashes(folder, manifest.files, ["model.onnx"])
    data = bytearray((folder / "model.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(BundleError, match="does not have the SHA-256 that the manifest records"):
        check_hashes(folder, read_manifest(folder).files, ["model.onnx"])


BAD: list[tuple[dict[str, Any], str]] = [
    ({"files": {"model.onnx": {"sha256": HASH, "bytes": float("nan")}}}, "NaN is not a JSON number"),
    ({"files": {"model.onnx": {"sha256": HASH, "bytes": 10**30}}}, "files.model.onnx.bytes"),
    ({"files": {"model.onnx": {"sha256": HASH, "bytes": -1}}}, "files.model.onnx.bytes"),
    ({"files": {"model.onnx": {"sha256": "zz", "bytes": 1}}}, "files.model.onnx.sha256"),
    ({"files": {}}, "`model.onnx` is used but has no entry in files"),
    ({"inputs": []}, "inputs"),
    ({"inputs": [{"name": "x", "dtype": "complex64", "shape": []}]}, "inputs.0.dtype"),
    ({"inputs": [{"name": "x", "dtype": "float32", "shape": [True]}]}, "inputs.0.shape.0"),
    ({"inputs": [{"name": "x", "dtype": "float32", "shape": [-1]}]}, "inputs.0.shape.0"),
    ({"inputs": [{"name": "x", "dtype": "float32", "shape": ["__import__('os')"]}]}, "is not a size"),
    ({"inputs": [{"name": "x/y", "dtype": "float32", "shape": []}]}, "inputs.0.name"),
    ({"inputs": [{"name": "x", "dtype": "float32", "shape": ["M"]}]}, "uses `M`, which is not in dims"),
    ({"inputs": [{"name": "x", "dtype": "float32", "shape": ["1 // 0"]}]}, "divides by zero"),
    ({"inputs": [{"name": "x", "dtype": "float32", "shape": ["2 - 3"]}]}, "has a size of -1"),
    ({"inputs": [{"name": "x", "dtype": "float32", "shape": ["N"]}] * 2}, "`x` stands twice"),
    ({"dims": {"N": {"min": 5, "opt": 2, "max": 8}}}, "min 5, opt 2, max 8 are not in order"),
    ({"dims": {"N": {"min": 1, "opt": 1, "max": 8, "multiple_of": 0}}}, "dims.N.multiple_of"),
    ({"preprocess": {"image": {}}}, "`image` has preprocessing or a tokenizer but is not an input"),
    ({"preprocess": {"x": {"mean": [float("inf")]}}}, "Infinity is not a JSON number"),
    ({"preprocess": {"x": {"std": [0.0]}}}, "preprocess.x.std.0"),
    ({"tokenizer": {"file": "t.json", "ids": "x", "mask": "m", "max_length": 8}}, "`m` has preprocessing or a tokenizer"),
    ({"config": {"a": float("nan")}}, "NaN is not a JSON number"),
    ({"surprise": 1}, "surprise"),
    ({"lamina": True}, "lamina"),
    ({"parameters": "12"}, "parameters"),
]


@pytest.mark.parametrize(("changes", "expected"), BAD, ids=[expected for _, expected in BAD])
def test_invalid_manifests_name_the_key(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    message = refused(handmade.write(tmp_path, **changes))
    assert "compile the spec again" in message
    assert expected in message


def test_many_errors_are_cut_short(tmp_path: Path) -> None:
    message = refused(handmade.write(tmp_path, **{f"extra{i}": i for i in range(50)}))
    assert "and 40 more" in message


def test_a_huge_manifest_is_not_read(tmp_path: Path) -> None:
    handmade.write(tmp_path)
    os.truncate(tmp_path / "manifest.json", 2**40)
    assert "is over 16 MiB: not a manifest" in refused(tmp_path)


def test_a_target_reads_its_own_files_only(tmp_path: Path) -> None:
    files = {
        "model.onnx": b"a",
        "model.ort.onnx": b"b",
        "weights.bin": b"c",
        "engines/1.engine": b"d",
        "engines/2.engine": b"e",
        "model.pt2": b"f",
    }
    targets = {
        "onnx": {"file": "model.onnx", "opset": 24},
        "onnxruntime": {"file": "model.ort.onnx", "opset": 24},
        "tensorrt": {"file": "engines/1.engine", "library": "tensorrt_rtx", "version": "1.7", "key": "k"},
        "torch": {"file": "model.pt2", "version": "2.13.0"},
    }
    manifest = read_manifest(handmade.write(tmp_path, files, targets=targets))
    assert manifest.files_of("onnxruntime") == ("model.ort.onnx", "weights.bin")
    assert manifest.files_of("tensorrt") == ("weights.bin", "engines/1.engine")
