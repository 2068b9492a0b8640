"""Safetensors: what the format's own library writes is read; what lies, ends early or overlaps is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import save_file

from lamina.compiler.weights.files import read_tensors
from lamina.compiler.weights.safetensors import read_safetensors
from lamina.schema.diagnostics import Fault

F4 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def build(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def test_every_dtype_of_the_library(tmp_path: Path) -> None:
    dtypes = [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    ]
    written = {f"layer.{d}".replace("torch.", ""): torch.arange(6).reshape(2, 3).to(d) for d in dtypes}
    save_file({**written, "empty": torch.zeros(0, 4), "scalar": torch.tensor(7.0)}, tmp_path / "m.safetensors", metadata={"format": "pt"})
    read = read_safetensors(tmp_path / "m.safetensors")
    assert read.keys() == {*written, "empty", "scalar"}
    for key, tensor in written.items():
        assert read[key].dtype == str(tensor.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(read[key].numpy().astype(np.float64), tensor.double().numpy(), strict=True)
    assert read["empty"].numpy().shape == (0, 4)
    assert read["scalar"].numpy() == np.float32(7)


BROKEN = {
    "a header longer than the file": (F4, b"1234", 10**15, "should be 1,000,000,000,000,000 bytes long"),
    "not JSON": (b"{no", b"", None, "not valid JSON"),
    "a nest of brackets": (b'{"a":' + b"[" * 200_000, b"", None, "not valid JSON"),
    "a number of a million digits": (b'{"a":' + b"9" * 1_000_000 + b"}", b"", None, "not valid JSON"),
    "not UTF-8": (b'{"\xff": 1}', b"", None, "not valid JSON"),
    "a list": ([1], b"", None, "not a JSON object"),
    "a key twice": (b'{"a": 1, "a": 2}', b"", None, "a key is given twice"),
    "a shape that lies": (
        {"a": {**F4, "shape": [1000, 1000]}},
        b"1234",
        None,
        r"`a` is float32\[1000, 1000\], 4,000,000 bytes, but stands from 0 to 4",
    ),
    "a negative size": ({"a": {**F4, "shape": [-1]}}, b"1234", None, "not lists of sizes"),
    "a size that is text": ({"a": {**F4, "shape": ["1"]}}, b"1234", None, "not lists of sizes"),
    "true for a size": ({"a": {**F4, "shape": [True]}}, b"1234", None, "not lists of sizes"),
    "one offset": ({"a": {**F4, "data_offsets": [0]}}, b"1234", None, "not lists of sizes"),
    "no dtype": ({"a": {"shape": [1], "data_offsets": [0, 4]}}, b"1234", None, "not {dtype, shape, data_offsets}"),
    "another dtype": ({"a": {**F4, "dtype": "F8_E4M3"}}, b"1234", None, "F8_E4M3, a dtype that is not supported"),
    "an overlap": ({"a": F4, "b": F4}, b"1234", None, "`b` overlaps"),
    "a gap": ({"a": F4, "b": {**F4, "data_offsets": [8, 12]}}, b"0" * 12, None, "`b` has a gap before it"),
    "a file cut short": ({"a": F4}, b"12", None, "2 bytes are missing at its end"),
    "a tail": ({"a": F4}, b"123456", None, "it has 2 bytes too many"),
}


def _library_refuses(path: Path) -> bool:
    try:
        with safetensors.safe_open(path, "np") as file:
            file.get_tensor("a")
    except safetensors.SafetensorError:
        return True
    return False


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused(case: str, tmp_path: Path) -> None:
    header, data, length, message = BROKEN[case]
    path = build(tmp_path / "m.safetensors", header, data, length)
    with pytest.raises(Fault, match=message) as caught:
        read_tensors(path)
    assert caught.value.span is not None
    assert caught.value.span.file == str(path)
    assert case == "another dtype" or _library_refuses(path)


@pytest.mark.parametrize("size", [0, 3, 8, 20])
def test_truncation_at_any_place(size: int, tmp_path: Path) -> None:
    path = build(tmp_path / "m.safetensors", {"a": F4}, b"1234")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(Fault, match="is damaged, or not a safetensors file"):
        read_tensors(path)


def index(folder: Path, weight_map: object) -> Path:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2), "unlisted": torch.ones(1)}, tmp_path / "one.safetensors")
    save_file({"b": torch.zeros(3)}, tmp_path / "two.safetensors")
    read = read_tensors(index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"}))
    assert {key: t.shape for key, t in read.items()} == {"a": (2,), "b": (3,)}
    assert read["a"].numpy().tolist() == [1, 1]


@pytest.mark.parametrize(
    "name",
    ["../one.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", ".", "..\\one.safetensors", "C:one.safetensors", "x.index.json"],
)
def test_an_index_cannot_reach_elsewhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(Fault, match="not that of a weights file beside it"):
        read_tensors(index(tmp_path, {"a": name}))


@pytest.mark.parametrize("weight_map", [None, {}, [], {"a": 1}])
def test_an_index_without_a_map_is_refused(weight_map: object, tmp_path: Path) -> None:
    with pytest.raises(Fault, match="no `weight_map`"):
        read_tensors(index(tmp_path, weight_map))


def test_an_index_that_lies_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors")
    with pytest.raises(Fault, match=r"places `b` in one\.safetensors, which does not hold it"):
        read_tensors(index(tmp_path, {"b": "one.safetensors"}))
    with pytest.raises(Fault, match="does not exist"):
        read_tensors(index(tmp_path, {"b": "two.safetensors"}))


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="holds no weights"):
        read_tensors(tmp_path)
    save_file({"a": torch.ones(2)}, tmp_path / "weights.safetensors")
    assert read_tensors(tmp_path).keys() == {"a"}
    save_file({"b": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(Fault, match="holds 2 safetensors files and no index"):
        read_tensors(tmp_path)
    save_file({"c": torch.ones(2)}, tmp_path / "model.safetensors")
    assert read_tensors(tmp_path).keys() == {"c"}


def test_other_endings_and_absent_files(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"has the ending `\.h5`"):
        read_tensors(tmp_path / "model.h5")
    with pytest.raises(Fault, match="does not exist"):
        read_tensors(tmp_path / "model.safetensors")
