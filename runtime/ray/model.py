"""A model that answers rows of a dataset, as the server answers requests."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import pyarrow as pa

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import BundleError, InputError
from lamina.runtime.manifest import Manifest
from lamina.runtime.ray.copies import Copies
from lamina.runtime.ray.pieces import ROWS, Piece, Row, rows_of
from lamina.runtime.ray.values import array_of, column, column_type, text_of
from lamina.runtime.run import TEXT
from lamina.runtime.serve.joining import leads
from lamina.runtime.serve.metrics import Metrics
from lamina.runtime.serve.places import places
from lamina.runtime.serve.read_infer import Asked
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.served import Served
from lamina.runtime.serve.settings import Limits, Settings
from lamina.runtime.session import BackendName


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How to run a bundle. `batch` is the most rows of a call."""

    backend: BackendName = "auto"
    adapter: str | None = None
    threads: int | None = None
    batch: int = 32


def takes_items(manifest: Manifest) -> bool:
    """Whether a row of a dataset is one of a call's rows: one dim leads every input and output, and may be 1. Else it is a whole call."""
    fed = [spec for spec in manifest.inputs if spec.name not in manifest.supplied]
    dim = fed[0].shape[0] if fed and fed[0].shape else None
    if manifest.states or not isinstance(dim, str) or dim not in manifest.dims or 1 not in manifest.dims[dim]:
        return False
    return all(leads(dim, spec) for spec in (*fed, *manifest.outputs))


def columns_of(manifest: Manifest) -> tuple[str, ...]:
    """The columns that a dataset may have for a bundle: its inputs, and `text` where it has a tokenizer and no input of that name."""
    names = tuple(spec.name for spec in manifest.inputs if not spec.is_adapter)  # states are last
    return names if manifest.tokenizer is None or TEXT in names else (*names, TEXT)


def outputs_schema(manifest: Manifest) -> pa.Schema:
    """The columns of what a dataset becomes."""
    return pa.schema([(spec.name, column_type(spec, takes_items(manifest))) for spec in manifest.outputs])


@final
class Model:
    """An actor of Ray Data: it is called with pieces, and gives what the model makes of them.

    BundleError: the shelf has another bundle than the one of this manifest.
    """

    def __init__(self, shelf: Any, manifest: Manifest, use: Use) -> None:
        copies = Copies(shelf)
        copies.refresh()
        (place,) = places([copies.folder])
        limits = Limits(queue=ROWS, batch=use.batch)
        settings = Settings(backend=use.backend, threads=use.threads, limits=limits)
        self._copies = copies  # whose locks this process must hold
        self._served = Served(place.model, place.version, place.folder, settings, Metrics())
        if self._served.manifest != manifest:
            raise BundleError("the bundle was replaced while it was run; run it again")
        self._adapter = use.adapter
        self._items = takes_items(manifest)
        inputs = {spec.name: spec for spec in manifest.inputs}
        self._specs = {name: inputs.get(name) for name in columns_of(manifest)}

    def __call__(self, given: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self._made(Piece(**row)) for row in given.to_pylist()], RESULT)

    def _made(self, piece: Piece) -> dict[str, Any]:
        results = asyncio.run(self._results(rows_of(piece)))
        faults = [(piece.first + index, result) for index, result in enumerate(results) if isinstance(result, str)]
        if piece.fault:
            faults.append((piece.first, piece.fault))
        outputs = [result for result in results if not isinstance(result, str)]
        return {
            "source": piece.source, "first": piece.first, "count": piece.count, "last": piece.last, "faults": json.dumps(faults),
            "outputs": b"" if faults else self._encoded(outputs),
        }  # fmt: skip

    async def _results(self, rows: Sequence[Row | str]) -> list[dict[str, Array] | str]:
        """The outputs for each row, or what is wrong with it. Rows are joined as requests are."""
        return list(await asyncio.gather(*map(self._result, rows)))

    async def _result(self, row: Row | str) -> dict[str, Array] | str:
        if isinstance(row, str):
            return row
        try:
            return await (await self._served.submitted(self._asked(row), math.inf))
        except (InputError, Refused) as error:
            return str(error)

    def _asked(self, row: Row) -> Asked:
        """InputError: with all that is wrong with its values."""
        inputs: dict[str, Array] = {}
        texts: list[str] = []
        problems: list[str] = []
        for name, spec in self._specs.items():
            try:
                if name not in row:
                    continue
                if spec is None:
                    texts = [text_of(row[name])]
                else:
                    inputs[name] = array_of(row[name], spec, self._served.manifest, self._items)
            except InputError as error:
                problems.append(f"`{name}`: {error}")
        if problems:
            raise InputError("; ".join(problems))
        return Asked(None, inputs, texts, (), frozenset(), self._adapter)

    def _encoded(self, outputs: Sequence[dict[str, Array]]) -> bytes:
        schema = outputs_schema(self._served.manifest)
        table = schema.empty_table()
        if outputs:
            specs = self._served.manifest.outputs
            table = pa.table([column([output[spec.name] for output in outputs], spec, self._items) for spec in specs], schema=schema)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())


RESULT = pa.schema(
    [
        ("source", pa.int64()), ("first", pa.int64()), ("count", pa.int64()), ("last", pa.bool_()),
        ("faults", pa.large_string()), ("outputs", pa.large_binary()),
    ]
)  # fmt: skip
