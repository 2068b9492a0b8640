"""Which operators of an ONNX file a node of ONNX Runtime's own graph stands for, once that has fused, moved and added some.

The runtime keeps the names of most values, whatever makes them in the end. So a node is what the file needs to make its outputs of
values that the runtime still has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, final

from lamina.compiler.protos import all_graphs, all_nodes

_LAYOUTS = frozenset({"MemcpyFromHost", "MemcpyToHost", "ReorderInput", "ReorderOutput"})
_MOVES = _LAYOUTS | {"Cast", "Identity", "Reshape", "Transpose"}


@dataclass(frozen=True, slots=True)
class Made:
    """The names of the file's nodes that a node stands for, the one first that it is named for, as FusedConv is for a Conv.

    `added`: it stands for none of them, but moves what they make into a form that the runtime likes.
    """

    nodes: tuple[str, ...]
    added: bool = False


def fused(file: Any, runtime: Any) -> dict[str, Made]:
    """For each node of the runtime's ModelProto, by name, what it stands for in the file's; nodes in bodies too."""
    graph = _Fused(file, runtime)
    made: dict[str, Made] = {}
    for node in graph.nodes:
        here = graph.of(node)
        same = made.get(node.name)  # a body may have one of the same name
        made[node.name] = here if same is None else Made(_once((*same.nodes, *here.nodes)), same.added and here.added)
    return made


@final
class _Fused:
    def __init__(self, file: Any, runtime: Any) -> None:
        self.makers = {name: node for node in all_nodes(file.graph.node) for name in node.output if name}
        self.calls = {(function.domain, function.name) for function in file.functions}
        given = {port.name for graph in all_graphs(file.graph) for port in graph.input}
        self.known = given | {tensor.name for tensor in file.graph.initializer} | set(self.makers)
        self.nodes = list(all_nodes(runtime.graph.node))
        self.sources = {name: node for node in self.nodes for name in node.output}
        self.readers: dict[str, list[Any]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.readers[name].append(node)
        self.value, self.named = cache(self.value), cache(self.named)  # type: ignore[method-assign]
        self.available = {self.value(name) for node in self.nodes for name in (*node.output, *node.input)}
        self.found: dict[int, Made] = {}

    def named(self, name: str) -> str:
        """The file's value that a name begins with: `conv#3_nchwc` is a form of `conv#3`. Empty if there is none."""
        while name and name not in self.known:
            name = name.rpartition("_")[0]
        return name

    def value(self, name: str) -> str:
        """The file's value that the runtime's one is, or is a form of: by its name, else by those of what reads or makes it."""
        maker = self.sources.get(name)
        if (found := self.named(name)) or maker is None:
            return found
        if maker.op_type in _LAYOUTS:
            return self.value(maker.input[0])
        asked = (self._asked(reader, name) for reader in self.readers[name])
        return next(filter(None, asked), "") or self.named(maker.name)

    def _asked(self, reader: Any, name: str) -> str:
        """What the file has where the runtime's node reads a value."""
        if reader.op_type in _LAYOUTS:
            return self.named(reader.output[0])
        own, place = self.makers.get(self.named(reader.name)), list(reader.input).index(name)
        return str(own.input[place]) if own is not None and own.op_type == reader.op_type and place < len(own.input) else ""

    def of(self, node: Any) -> Made:
        """What a node stands for: what its outputs need; if the file has none of them, what those stand for that read them."""
        if id(node) not in self.found:
            self.found[id(node)] = self._of(node)
        return self.found[id(node)]

    def _of(self, node: Any) -> Made:
        values = _once(filter(None, map(self.value, node.output)))
        makers = [self.makers[name] for name in values if name in self.makers]
        if values and set(values) <= set(map(self.value, node.input)):
            return Made(_once(maker.name for maker in makers) or self._reading(node), added=True)
        if makers:
            return Made(self._needed(makers, node.op_type))
        names = self._reading(node)
        own = [self.makers[name] for name in names]
        calls = any((maker.domain, maker.op_type) in self.calls for maker in own)
        moves = node.op_type in _MOVES and not calls and all(maker.op_type != node.op_type for maker in own)
        return Made(names, added=moves or not names)

    def _reading(self, node: Any) -> tuple[str, ...]:
        return _once(found for name in node.output for reader in self.readers[name] for found in self.of(reader).nodes)

    def _needed(self, wanted: Iterable[Any], op_type: str) -> tuple[str, ...]:
        """The nodes that make some values of those that the runtime has."""
        pending = list(wanted)
        seen = {node.name: node for node in pending}
        while pending:
            for name in pending.pop().input:
                maker = self.makers.get(name)
                if maker is not None and name not in self.available and maker.name not in seen:
                    seen[maker.name] = maker
                    pending.append(maker)
        return tuple(sorted(seen, key=lambda name: -len(seen[name].op_type) if seen[name].op_type in op_type else 0))


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
