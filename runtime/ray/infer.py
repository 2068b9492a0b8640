"""What a bundle makes of a whole dataset, on a cluster."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lamina.runtime.errors import BackendMissing, InputError
from lamina.runtime.images import SUFFIXES
from lamina.runtime.manifest import Manifest, read_manifest
from lamina.runtime.ray.cluster import Share, connected, here

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import ray.data
    from ray.exceptions import RayError

    from lamina.runtime.ray.model import Model, Use, columns_of, outputs_schema
    from lamina.runtime.ray.pieces import pieces, sources
    from lamina.runtime.ray.shelf import shelved
    from lamina.runtime.ray.trial import try_to_open
except ImportError as error:
    raise BackendMissing(f"Ray Data cannot be imported ({error}); pip install lamina[ray]") from error

_MOST_FAULTS = 20
_READERS = 2  # sources that are read at a time
_GROUP = 32 * 2**20  # bytes of a row group
_PIECES = pa.schema(
    [
        ("source", pa.int64()), ("first", pa.int64()), ("count", pa.int64()), ("rows", pa.large_binary()), ("arrow", pa.bool_()),
        ("fault", pa.large_string()), ("last", pa.bool_()),
    ]
)  # fmt: skip


def infer(bundle: Path, dataset: Path, out: Path, use: Use, *, address: str | None, sessions: int, share: Share) -> int:
    """Write the outputs for each row of a dataset to a parquet file, whole or not at all, in the dataset's order; how many rows there are.

    The dataset is on this machine; `sources` says what it may be. Up to `sessions` run on the cluster at `address` (`connected`).
    InputError: with the place of each row that will not do. BundleError. BackendMissing: no cluster, or it lost what ran there for good.
    """
    manifest = read_manifest(bundle)
    found = sources(dataset)
    _check(manifest, found, use, out)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        with connected(address), shelved([bundle]) as shelf:
            try_to_open(shelf, use.backend, share)
            results = _results(found, manifest, shelf, use, sessions, share)
            try:
                rows = _written(_in_order(results, found), outputs_schema(manifest), unfinished)
            except RayError as error:
                raise BackendMissing(f"the cluster did not finish: {error}") from error
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return rows


def _check(manifest: Manifest, found: list[list[Path]], use: Use, out: Path) -> None:
    fed = [spec.name for spec in manifest.inputs if spec.name not in manifest.supplied]
    if found[0][0].suffix.lower() in SUFFIXES and len(fed) != 1:
        raise InputError(
            f"{found[0][0]} is an image, and the model has the inputs {', '.join(fed)}; give a .parquet with a column for each"
        )
    if use.adapter is not None and use.adapter not in (names := [known.name for known in manifest.adapters]):
        raise InputError(f"`{use.adapter}` is not an adapter of this bundle; it has {', '.join(names) or 'none'}")
    if out.suffix != ".parquet" or not out.parent.is_dir():
        raise InputError(f"{out} must be named .parquet, in a folder that there is")


def _results(found: list[list[Path]], manifest: Manifest, shelf: Any, use: Use, sessions: int, share: Share) -> Iterator[dict[str, Any]]:
    """What `Model` makes of each piece, in order, as it comes. What a lost machine had is made again, by Ray."""
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context.target_max_block_size = 1  # a piece is a block, however small it is
    with ray.data.DataContext.current(context):
        given = ray.data.from_items([{"source": number} for number in range(len(found))], override_num_blocks=len(found))
        read = given.map_batches(
            partial(_read, found, columns_of(manifest)), batch_size=1, batch_format="pyarrow", num_cpus=0,
            compute=ray.data.TaskPoolStrategy(min(_READERS, len(found))), label_selector=here(),
        )  # fmt: skip
        made = read.map_batches(
            Model, batch_size=1, batch_format="pyarrow", num_cpus=share.cpus, num_gpus=share.gpus,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=sessions), fn_constructor_args=(shelf, manifest, use),
        )  # fmt: skip
        yield from made.iter_rows()


def _read(found: list[list[Path]], columns: tuple[str, ...], numbers: pa.Table) -> Iterator[pa.Table]:
    for number in numbers.column("source").to_pylist():
        for piece in pieces(number, found[number], columns):
            yield pa.Table.from_pylist([asdict(piece)], _PIECES)


def _in_order(results: Iterator[dict[str, Any]], found: list[list[Path]]) -> Iterator[bytes]:
    """The outputs of each piece. InputError with the faults of rows, as many as are told; AssertionError: Ray has lost or doubled one."""
    source, row, faults = 0, 0, list[str]()
    for result in results:
        assert (result["source"], result["first"]) == (source, row), "a piece is missing or came twice"
        source, row = (source + 1, 0) if result["last"] else (source, row + result["count"])
        faults += [f"{_place(found[result['source']], number)}: {what}" for number, what in json.loads(result["faults"])]
        if len(faults) >= _MOST_FAULTS:
            break
        if not faults:
            yield result["outputs"]
    if faults:
        raise InputError("\n".join(faults[:_MOST_FAULTS]))
    assert source == len(found), "not all pieces came"


def _place(paths: list[Path], number: int) -> str:
    return f"{paths[0]}, row {number + 1}" if len(paths) == 1 else str(paths[min(number, len(paths) - 1)])


def _written(parts: Iterator[bytes], schema: pa.Schema, path: Path) -> int:
    """How many rows were written, in groups."""
    rows = 0
    held: list[pa.Table] = []
    with pq.ParquetWriter(path, schema) as writer:
        for part in parts:
            with pa.ipc.open_stream(part) as reader:
                held.append(reader.read_all())
            rows += held[-1].num_rows
            if sum(table.nbytes for table in held) > _GROUP:
                writer.write_table(pa.concat_tables(held))
                held = []
        writer.write_table(pa.concat_tables([schema.empty_table(), *held]))
    return rows
