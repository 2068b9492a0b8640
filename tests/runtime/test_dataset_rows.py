"""Datasets as pieces, their rows as arrays, and arrays as columns; all without a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lamina.runtime.errors import InputError
from lamina.runtime.manifest import Manifest
from lamina.runtime.parts import Tensor
from lamina.runtime.ray import pieces as module
from lamina.runtime.ray.model import columns_of, outputs_schema, takes_items
from lamina.runtime.ray.pieces import Piece, pieces, rows_of, sources
from lamina.runtime.ray.values import array_of, column, column_type

N3 = {"name": "x", "dtype": "float32", "shape": ["N", 3]}


def manifest(**changes: Any) -> Manifest:
    return Manifest.model_validate_json(json.dumps(handmade.describe({}, files={"model.onnx": {"sha256": "0" * 64, "bytes": 1}}) | changes))


def read(*paths: Path, columns: tuple[str, ...] = ("x",)) -> list[Piece]:
    return list(pieces(0, list(paths), columns))


def arrays(piece: Piece, item: bool = True) -> list[Any]:
    """The rows of a piece as arrays for x."""
    found = manifest()
    return [array_of(row["x"], found.inputs[0], found, item).tolist() for row in rows_of(piece) if not isinstance(row, str)]


# --- files ---


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 3), pa.large_list(pa.int64())])
def test_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    x = [[n, n + 1, n + 2] for n in range(150)]
    pq.write_table(pa.table({"x": pa.array(x, kind), "label": ["a"] * 150}), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert [(piece.first, piece.count, piece.last) for piece in found] == [(0, 64, False), (64, 64, False), (128, 22, True)]
    assert [row for piece in found for row in arrays(piece)] == [[row] for row in x]


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x": [1, 2, 3]}\n\nno\n[1]\n{"x": [4, 5, 6.5], "y": null}')
    (piece,) = read(tmp_path / "a.jsonl")
    assert (piece.count, piece.last) == (4, True)
    assert arrays(piece) == [[[1, 2, 3]], [[4, 5, 6.5]]]
    assert rows_of(piece)[1:3] == ["is not JSON: Expecting value: line 1 column 1 (char 0)", "is not a JSON object"]


def test_csv_and_texts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('x,text\n"[1, 2, 3]","two\nlines, and 7"\n[4],7\n')
    (piece,) = read(tmp_path / "a.csv")
    assert rows_of(piece) == [{"x": [1, 2, 3], "text": "two\nlines, and 7"}, {"x": [4], "text": "7"}]
    (tmp_path / "a.txt").write_text("one\n\nça va\n")
    assert [rows_of(piece) for piece in read(tmp_path / "a.txt")] == [[{"text": "one"}, {"text": "ça va"}]]


def test_images(tmp_path: Path) -> None:
    for name, colour in (("b.png", 255), ("a.png", 0)):
        Image.new("RGB", (4, 4), (colour, 0, 0)).save(tmp_path / name)
    (paths,) = sources(tmp_path)
    (piece,) = read(*paths)
    how = {"preprocess": {"x": {"crop": 2, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}}}
    found = manifest(inputs=[N3 | {"shape": ["N", 3, 2, 2]}], **how)
    given = [array_of(row["x"], found.inputs[0], found, True) for row in rows_of(piece) if not isinstance(row, str)]
    assert [(array.shape, array[0, :, 0, 0].tolist()) for array in given] == [((1, 3, 2, 2), [0, 0, 0]), ((1, 3, 2, 2), [1, 0, 0])]


def test_a_large_image_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"x" * (2**20 + 1))
    monkeypatch.setattr(module, "_IMAGE", 2**20)
    (piece,) = read(tmp_path / "a.png")
    assert piece.fault == f"{tmp_path / 'a.png'} has more than 1 MiB"


def test_large_rows_make_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGEST", 1000)
    monkeypatch.setattr(module, "_LONGEST", 2000)
    rows = [[float(number)] * 50 for number in range(10)]
    pq.write_table(pa.table({"x": rows}), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"x": row}) + "\n" for row in rows))
    for name in ("a.parquet", "a.jsonl"):
        found = read(tmp_path / name)
        assert max(piece.count for piece in found) < 5
        assert [row for piece in found for row in arrays(piece, item=False)] == rows
    (tmp_path / "a.jsonl").write_text('{"x": [1, 2, 3]}\n' + "1" * 2001)
    first, second = read(tmp_path / "a.jsonl")
    assert arrays(first) == [[[1, 2, 3]]]
    assert (second.first, second.fault, second.last) == (1, "a line has more than 0 MiB", True)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.parquet", b"PAR1 and no more", "Parquet"),
        ("a.txt", b"one\n\xff\n", "utf-8"),
        ("a.csv", b'x\n"' + b"1" * 200_000, "field larger than field limit"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    found = read(tmp_path / name)
    assert said in found[-1].fault
    assert found[-1].last


def test_a_pickle_in_parquet_is_refused(tmp_path: Path) -> None:
    """Ray's own type for Python's objects would be unpickled where a value is looked at."""
    metadata = {b"ARROW:extension:name": b"ray.data.arrow_pickled_object", b"ARROW:extension:metadata": b""}
    schema = pa.schema([pa.field("x", pa.large_binary(), metadata=metadata)])
    pq.write_table(pa.table([pa.array([b"cos\nsystem\n(S'exit 1'\ntR."], pa.large_binary())], schema=schema), tmp_path / "a.parquet")
    import ray.data  # which makes the type known

    assert ray.data is not None
    (piece,) = read(tmp_path / "a.parquet")
    assert "write it as numbers or lists" in piece.fault


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "holds nothing that can be read"),
        (["a.csv", "b.jsonl"], "holds .csv, .jsonl"),
        (None, "there is no file or folder"),
    ],
)
def test_what_is_no_dataset_is_told(tmp_path: Path, names: list[str] | None, said: str) -> None:
    folder = tmp_path / "data"
    if names is not None:
        folder.mkdir()
        for name in [*names, "notes.md"]:
            (folder / name).touch()
    with pytest.raises(InputError, match=said):
        sources(folder)


# --- values ---


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([[1.0, 2.0], [3.0]], "ragged"),
        (pa.scalar([[1.0, 2.0], [3.0]]), "ragged"),
        (pa.scalar([1.0, None, 2.0]), "null"),
        (pa.scalar(None, pa.list_(pa.float32())), "null"),
        ("text", "cannot stand for"),
        (pa.scalar("text"), "cannot stand for"),
        ({"a": 1}, "cannot stand for"),
        (pa.scalar(b"no picture"), "no `preprocess`"),
    ],
)
def test_a_value_that_will_not_do_is_told(value: Any, said: str) -> None:
    found = manifest()
    with pytest.raises(InputError, match=said):
        array_of(value, found.inputs[0], found, True)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "int8", "bool"])
def test_arrays_of_all_shapes_come_back_from_parquet(tmp_path: Path, dtype: str) -> None:
    from lamina.runtime.dtypes import numpy_dtype

    given = [np.arange(a * b).reshape(a, b).astype(numpy_dtype(dtype)) for a, b in ((2, 3), (0, 4), (1, 0), (3, 1))]
    spec = Tensor(name="y", dtype=dtype, shape=("A", "B"))
    pq.write_table(pa.table({"y": column(given, spec, False)}, pa.schema([("y", column_type(spec, False))])), tmp_path / "a.parquet")
    found = pq.read_table(tmp_path / "a.parquet")["y"].to_pylist()
    assert found == [array.astype(np.float32).tolist() if dtype == "bfloat16" else array.tolist() for array in given]


def test_items_lose_their_first_axis() -> None:
    rows = [np.full((1, 2), number, np.float32) for number in range(3)]
    assert column(rows, Tensor(name="y", dtype="float32", shape=("N", 2)), True).to_pylist() == [[0, 0], [1, 1], [2, 2]]
    assert column([row[:, 0] for row in rows], Tensor(name="y", dtype="float32", shape=("N",)), True).to_pylist() == [0, 1, 2]


# --- which rows ---


def test_a_row_is_one_of_a_calls_where_a_dim_leads_all() -> None:
    whole = {"name": "x", "dtype": "float32", "shape": [4, 3]}
    assert takes_items(manifest())
    assert not takes_items(manifest(inputs=[whole], outputs=[whole | {"name": "y"}], dims={}))
    assert not takes_items(manifest(dims={"N": {"min": 2, "opt": 2, "max": 8}}))
    assert not takes_items(manifest(outputs=[N3 | {"name": "y", "shape": [3, "N"]}]))
    assert columns_of(manifest()) == ("x",)
    assert outputs_schema(manifest()).field("y").type == pa.large_list(pa.float32())
