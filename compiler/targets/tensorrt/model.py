"""An ONNX file as this target sees it: what it refers to and what it is, without a weight being read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, final

from lamina.compiler.protos import all_nodes
from lamina.compiler.targets.tensorrt.process import EngineError

PAGE = 4096
DOUBLE = 11


@final
class Model:
    """The file's graph, and the weight files beside it."""

    def __init__(self, path: Path) -> None:
        import onnx

        self.path = path.resolve()
        self._proto: Any = onnx.load(self.path, load_external_data=False)

    @cached_property
    def weight_files(self) -> tuple[str, ...]:
        """Their names. Raises `EngineError` for one that is elsewhere."""
        names = {entry.value for tensor in _external(self._proto.graph) for entry in tensor.external_data if entry.key == "location"}
        for name in names:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise EngineError(f"{self.path.name} names the weight file `{name}`, which is outside its folder")
        return tuple(sorted(names))

    @property
    def has_weights(self) -> bool:
        """Whether every weight file exists."""
        return all((self.path.parent / name).exists() for name in self.weight_files)

    def float64_names(self) -> dict[str, str]:
        """Inputs and outputs of float64, and what operators make of float64 weights or convert to it; of each the node to name.

        An input is where it is first read.

        The library takes them all and computes in float32; of inputs and outputs it then reads and writes half of the bytes.
        """
        graph = self._proto.graph
        ports = [port.name for port in (*graph.input, *graph.output) if port.type.tensor_type.elem_type == DOUBLE]
        inputs = {port.name for port in graph.input}
        weights = {tensor.name for tensor in graph.initializer if tensor.data_type == DOUBLE}
        made = [n.output[0] for n in graph.node if not weights.isdisjoint(n.input) or any(_is_double(a) for a in n.attribute)]
        readers = {name: node.output[0] for node in reversed(graph.node) for name in _read(node)}
        makers = {name: node.output[0] for node in graph.node for name in node.output}  # a node is named by the first that it makes
        return {name: (readers if name in inputs else makers).get(name, name) for name in (*ports, *made)}

    def loops(self) -> tuple[str, ...]:
        """The names of loops, each before those inside it: as the library counts them."""
        return tuple(node.output[0] for node in all_nodes(self._proto.graph.node) if node.op_type in ("Scan", "Loop"))

    def fingerprint(self) -> str:
        """The sha256 of all that reaches the engine: not of the notes that say which line of which file a node came from."""
        import onnx

        bare = onnx.ModelProto()
        bare.CopyFrom(self._proto)
        for node in all_nodes(bare.graph.node):
            del node.metadata_props[:]
        return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()

    def without_weights(self, folder: Path) -> Path:
        """A copy in `folder`, beside a weight file that is one hole: the parser maps it and reads next to nothing.

        Each tensor gets a place of its own, since the library takes two of different sizes at one place for a mistake.
        """
        end = 0
        for tensor in _external(self._proto.graph):
            length = next((int(e.value) for e in tensor.external_data if e.key == "length"), 0)
            del tensor.external_data[:]
            for key, value in (("location", "weights.bin"), ("offset", str(end)), ("length", str(length))):
                tensor.external_data.add(key=key, value=value)
            end += -(-max(length, 1) // PAGE) * PAGE
        with (folder / "weights.bin").open("wb") as file:
            file.truncate(end)
        copy = folder / "model.onnx"
        copy.write_bytes(self._proto.SerializeToString())
        return copy


def _read(node: Any) -> Iterator[str]:
    """What a node reads, or a graph inside it."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read(inner)


def _is_double(attribute: Any) -> bool:
    return attribute.name in ("to", "dtype") and attribute.i == DOUBLE


def _external(graph: Any) -> Iterator[Any]:
    """The tensors of a graph, and of the graphs inside it, that lie in a weight file."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _external(attribute.g)
    yield from (tensor for tensor in graph.initializer if tensor.external_data)
