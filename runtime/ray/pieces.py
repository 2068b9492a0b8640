"""A dataset's files as pieces: some rows each, as bytes, with where they stand."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pyarrow.parquet as pq

from lamina.runtime.errors import InputError
from lamina.runtime.images import SUFFIXES as IMAGES
from lamina.runtime.run import TEXT

ROWS = 64
"""The most rows of a piece."""
_LONGEST = 16 * 2**20  # bytes of a line
_IMAGES, _IMAGE = 16, 64 * 2**20  # of a piece, and the bytes of one
_LARGEST = 16 * 2**20  # bytes of a piece, unless one row has more
_FAULTS = (InputError, pa.ArrowException, OSError, csv.Error, UnicodeDecodeError)
FORMATS = (".parquet", ".jsonl", ".csv", ".txt")
WHAT = "a .parquet, .jsonl or .csv file with a column for each input, a .txt of a text a line, or a folder of one of these, or of images"
Row = Mapping[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of a source from number `first` on (its first is 0), in Arrow's format or JSON, a line each; or what is wrong behind them.

    `last`: the source ends with it.
    """

    source: int
    first: int
    count: int = 0
    rows: bytes = b""
    arrow: bool = False
    fault: str = ""
    last: bool = False


def sources(dataset: Path) -> list[list[Path]]:
    """The files of a dataset, in order, those apart that may be read apart: images are taken some at a time. InputError."""
    if not dataset.exists():
        raise InputError(f"there is no file or folder {dataset}; give {WHAT}")
    inside = sorted(path for path in dataset.iterdir() if path.suffix.lower() in (*FORMATS, *IMAGES)) if dataset.is_dir() else [dataset]
    kinds = sorted({".png" if path.suffix.lower() in IMAGES else path.suffix.lower() for path in inside})
    if not inside or len(kinds) > 1 or kinds[0] not in (*FORMATS, ".png"):
        held = f"holds {', '.join(kinds)}" if len(kinds) > 1 else "cannot be read" if inside else "holds nothing that can be read"
        raise InputError(f"{dataset} {held}; give {WHAT}")
    if kinds == [".png"]:
        return [inside[start : start + _IMAGES] for start in range(0, len(inside), _IMAGES)]
    return [[path] for path in inside]


def pieces(source: int, paths: list[Path], columns: tuple[str, ...]) -> Iterator[Piece]:
    """The rows of one source. Of a parquet file, and of images, these columns; the latter have one."""
    waiting = Piece(source, 0)
    for piece in _pieces(source, paths, columns):
        if waiting.count:
            yield waiting
        waiting = piece
    yield replace(waiting, last=True)


def _pieces(source: int, paths: list[Path], columns: tuple[str, ...]) -> Iterator[Piece]:
    first = 0
    arrow = paths[0].suffix.lower() in (".parquet", *IMAGES)
    try:
        for count, rows in _encoded(paths, columns):
            yield Piece(source, first, count, rows, arrow)
            first += count
    except _FAULTS as error:
        yield Piece(source, first, fault=str(error))


def _encoded(paths: list[Path], columns: tuple[str, ...]) -> Iterator[tuple[int, bytes]]:
    (path, *_) = paths
    match path.suffix.lower():
        case ".parquet":
            return _from_parquet(path, columns)
        case ".jsonl":
            return _lines(path)
        case ".csv":
            return _from_csv(path)
        case ".txt":
            return _texts(path)
    return iter([(len(paths), _in_arrow(pa.table({columns[0]: pa.array(map(_image, paths), pa.binary())})))])


def _image(path: Path) -> bytes:
    if path.stat().st_size > _IMAGE:
        raise InputError(f"{path} has more than {_IMAGE >> 20} MiB")
    return path.read_bytes()


def _from_parquet(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, bytes]]:
    with pq.ParquetFile(path) as file:
        held = [name for name in columns if name in file.schema_arrow.names]
        for name in held:
            if isinstance(kind := file.schema_arrow.field(name).type, pa.BaseExtensionType):
                raise InputError(f"the column `{name}` has the type {kind}; write it as numbers or lists")
        for batch in file.iter_batches(ROWS, columns=held):
            yield from _halves(pa.Table.from_batches([batch]))


def _halves(table: pa.Table) -> Iterator[tuple[int, bytes]]:
    if table.nbytes <= _LARGEST or table.num_rows < 2:
        yield table.num_rows, _in_arrow(table)
        return
    half = table.num_rows // 2
    yield from _halves(table.slice(0, half))
    yield from _halves(table.slice(half))


def _in_arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """JSON is read where the model runs, so that a faulty line is told with its number."""
    with path.open("rb") as file:
        yield from _joined(_bounded(file))


def _bounded(file: io.BufferedReader) -> Iterator[bytes]:
    while line := file.readline(_LONGEST + 1):
        if len(line) > _LONGEST:
            raise InputError(f"a line has more than {_LONGEST >> 20} MiB")
        if line.strip():
            yield line.strip()


def _joined(rows: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """JSON of some rows as JSON lines, as many as a piece has."""
    held: list[bytes] = []
    size = 0
    try:
        for row in rows:
            if len(held) == ROWS or (held and size + len(row) > _LARGEST):
                yield len(held), b"\n".join(held)
                held, size = [], 0
            held.append(row)
            size += len(row)
    except _FAULTS:
        if held:
            yield len(held), b"\n".join(held)
        raise
    if held:
        yield len(held), b"\n".join(held)


def _from_csv(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from _joined(
            json.dumps({name: _cell(name, text) for name, text in row.items() if name}).encode() for row in csv.DictReader(file)
        )


def _cell(name: str, text: Any) -> Any:
    """A number or list as JSON, if it is one."""
    if name == TEXT or not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _texts(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        yield from _joined(json.dumps({TEXT: line.decode("utf-8")}).encode() for line in _bounded(file))


def rows_of(piece: Piece) -> list[Row | str]:
    """Its rows; in place of one that is none, what is wrong with it. Values are Arrow's scalars or JSON's."""
    if not piece.arrow:
        return [_parsed(line) for line in piece.rows.split(b"\n")] if piece.count else []
    with pa.ipc.open_stream(piece.rows) as reader:
        table = reader.read_all()
    return [{name: table.column(name)[index] for name in table.column_names} for index in range(table.num_rows)]


def _parsed(line: bytes) -> Row | str:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {error}"
    return found if isinstance(found, dict) else "is not a JSON object"
