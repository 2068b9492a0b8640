"""Adapters in a bundle: inputs of the graph, and a file of each adapter's matrices for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lamina.compiler.bundle import BundleWriter
from lamina.compiler.elaborate import Elaborated
from lamina.compiler.graph import Graph, Value
from lamina.compiler.numeric import numpy_dtype
from lamina.compiler.passes.attach_adapters import MOST, SYMBOL, attach_adapters, linear_layers
from lamina.compiler.weights.peft import LowRank, read_peft
from lamina.compiler.weights.tensor import Array, fixed_shape
from lamina.schema.carried import ADAPTER, RANK
from lamina.schema.diagnostics import Diagnostic, Span, SpecError

Adapter = Mapping[str, LowRank]


def adapted(model: Elaborated, folders: Mapping[str, str | Path]) -> tuple[Elaborated, dict[str, Adapter]]:
    """The model with inputs for every layer that one of these adapters changes, and the adapters by name. Raises SpecError."""
    if not folders:
        return model, {}
    if RANK in model.dims:
        raise _refused(str(next(iter(folders.values()))), f"the model has a dim `{RANK}`, which is what adapters share", "rename it")
    shapes = {name: fixed_shape(node.inputs[1]) for name, node in linear_layers(model.graph).items() if node.inputs[1] is not None}
    found: dict[str, Adapter] = {name: read_peft(Path(folder), model.weights, shapes) for name, folder in folders.items()}
    for name, adapter in found.items():
        if _rank(adapter) > MOST:
            raise _refused(str(folders[name]), f"the adapter has rank {_rank(adapter)}, and {MOST} is the most")
    return with_adapters(model, {path for adapter in found.values() for path in adapter}), found


def with_adapters(model: Elaborated, weights: Collection[str]) -> Elaborated:
    """The model with inputs beside the weights at these paths."""
    return replace(model, graph=attach_adapters(model.graph, weights), dims={**model.dims, RANK: SYMBOL})


def adapted_weights(inputs: Collection[str]) -> set[str]:
    """The paths of the weights beside which inputs of these names are."""
    paths = (name.removeprefix(ADAPTER) for name in inputs if name.startswith(ADAPTER))
    return {f"{path.removesuffix('.a')}.weight" for path in paths if path.endswith(".a")}


def write_adapters(graph: Graph, adapters: Mapping[str, Adapter], writer: BundleWriter) -> list[dict[str, Any]]:
    """A file for each adapter, and what the manifest says of it. Layers that an adapter leaves alone get zeros."""
    inputs = [value for value in graph.inputs if value.name.startswith(ADAPTER)]
    entries = []
    for number, (name, adapter) in enumerate(adapters.items()):
        rank, file = _rank(adapter), f"adapters/{number}.bin"
        with writer.path(file).open("wb") as out:
            for a, b in zip(inputs[::2], inputs[1::2], strict=True):
                for array in _matrices(adapter, a, b, rank):
                    out.write(array.data)
        entries.append({"name": name, "file": file, "rank": rank})
    return entries


def _rank(adapter: Adapter) -> int:
    return max((part.rank for part in adapter.values()), default=1)


def _matrices(adapter: Adapter, a: Value, b: Value, rank: int) -> tuple[Array, Array]:
    (path,), dtype = adapted_weights([a.name]), numpy_dtype(a.dtype)
    if path in adapter:
        return adapter[path].arrays(rank, dtype)
    rows, columns = a.shape[0], b.shape[1]
    assert isinstance(rows, int)
    assert isinstance(columns, int)
    return np.zeros((rows, rank), dtype), np.zeros((rank, columns), dtype)


def _refused(place: str, message: str, hint: str = "") -> SpecError:
    return SpecError([Diagnostic("adapter", message, Span(place, 1, 1), hint)])
