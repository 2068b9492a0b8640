"""Causal attention to a preallocated cache becomes com.microsoft.GroupQueryAttention wherever that kernel can run.

It reads queries, keys and values as linear layers give them, and of a cache no more than is filled, which it writes itself: one operator
in the stead of ten. It takes one row with any number of tokens, and several rows with one token each behind a cache that is not empty.
Which it is shows when the model runs, so it is one branch of an If; the operators that were there are the other.

Requires: what `preallocate_caches` leaves, deduplicated. Ensures: the same outputs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from lamina.compiler.graph import Attribute, Constant, Graph, Node, Origin, Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.ops.attention import Attention
from lamina.compiler.passes.join_heads import after_merge, before_split
from lamina.schema.dims import TensorType

_SWAP = (0, 2, 1, 3)
_WIDTH = 8  # a head's must be a multiple of it


def group_queries(graph: Graph) -> Graph:
    """Rewrite each causal Attention whose keys and values are caches."""
    uses = _Uses(graph)
    matches = [match for node in graph.nodes if (match := uses.match(node)) is not None]
    ends = {id(match.nodes[-1]): match for match in matches}
    moved = {id(node) for match in matches for node in match.nodes}
    nodes: list[Node] = []
    steps: dict[int, _Step] = {}
    for node in graph.nodes:
        if id(node) in ends:
            match = ends[id(node)]
            if id(match.places) not in steps:
                steps[id(match.places)] = step = _Step.of(match)
                nodes += step.nodes
            nodes.append(_either(match, steps[id(match.places)]))
        elif id(node) not in moved:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


@final
@dataclass(frozen=True, slots=True)
class _Heads:
    """Queries, keys or values: [N, heads, T, d], and what they were split from where they were, before they were rotated if they were."""

    split: Value
    joined: Value | None
    rotary: Node | None

    @property
    def tokens(self) -> tuple[Value, int]:
        """A value that is there before any branch, and the axis of it that goes along the tokens."""
        return (self.split, 2) if self.joined is None else (self.joined, 1)


@final
@dataclass(frozen=True, slots=True)
class _Match:
    """An Attention with what is around it. `nodes` are those that serve it alone; they give the result and both caches."""

    attention: Node
    heads: tuple[_Heads, _Heads, _Heads]
    pasts: tuple[Value, Value]
    places: Node
    bias: Value
    nodes: tuple[Node, ...]

    @property
    def outputs(self) -> tuple[Value, ...]:
        _, keys, values = self.attention.inputs[:3]
        assert keys is not None
        assert values is not None
        return (self.nodes[-1].outputs[0], keys, values)


class _Uses:
    """Who makes and who reads the values of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = graph.nodes
        self.makers = {id(v): n for n in graph.nodes for v in n.outputs}
        self.users = {id(v): n for n in graph.nodes for v in n.inputs if v is not None}
        self.reads = Counter(id(v) for n in graph.nodes for v in n.reads())
        self.kept = Counter(id(v) for v in graph.outputs)

    def match(self, node: Node) -> _Match | None:
        """What there is to rewrite, if the kernel takes it."""
        if node.op_type != "Attention" or not isinstance(node.op, Attention) or not node.op.causal or "q_num_heads" in node.attributes:
            return None
        q, keys, values, bias, *_ = (*node.inputs, None)
        writes = [self._write(v) for v in (keys, values)]
        pad = self.makers.get(id(bias))
        if q is None or bias is None or pad is None or pad.op_type != "Pad" or not _fits(q, values):
            return None
        key, value = writes
        if key is None or value is None or key.inputs[2] is not value.inputs[2]:
            return None
        places = self.makers[id(key.inputs[2])]
        heads = tuple(self._heads(v) for v in (q, key.inputs[1], value.inputs[1]) if v is not None)
        merge = after_merge(node.outputs[0], self.users, self.reads + self.kept)
        assert len(heads) == 3
        pasts = tuple(n.inputs[0] for n in (key, value) if n.inputs[0] is not None)
        assert len(pasts) == 2
        assert pad.inputs[0] is not None
        return _Match(node, heads, pasts, places, pad.inputs[0], self._alone([key, value, node], heads, merge))

    def _write(self, cache: Value | None) -> Node | None:
        """What writes a cache that nothing else reads."""
        maker = self.makers.get(id(cache))
        return maker if maker is not None and maker.op_type == "TensorScatter" and self.reads[id(cache)] == 1 else None

    def _heads(self, value: Value) -> _Heads:
        maker = self.makers.get(id(value))
        rotary = maker if maker is not None and maker.op_type == "RotaryEmbedding" else None
        joined = before_split(value if rotary is None else rotary.inputs[0], self.makers)
        return _Heads(value, joined, rotary if joined is not None else None)

    def _alone(self, nodes: list[Node], heads: tuple[_Heads, ...], merge: Node | None) -> tuple[Node, ...]:
        """The nodes, those that split and rotate heads for them alone, and those that merge what they give: in the graph's order."""
        mine = {id(node) for node in nodes}
        for value in (head.split for head in heads if head.joined is not None):
            current = value
            while (maker := self.makers.get(id(current))) is not None and maker.op_type in ("RotaryEmbedding", "Transpose", "Reshape"):
                if self.reads[id(current)] + self.kept[id(current)] != 1 or maker.inputs[0] is None:
                    break
                mine.add(id(maker))
                if maker.op_type == "Reshape":
                    break
                current = maker.inputs[0]
        if merge is not None:
            mine |= {id(merge), id(self.makers[id(merge.inputs[0])])}
        return tuple(node for node in self.nodes if id(node) in mine)


def _fits(q: Value, values: Value | None) -> bool:
    """Whether the kernel takes heads of these."""
    width = q.shape[3]
    same = values is not None and values.shape[3] == width
    return same and q.dtype == "float32" and isinstance(width, int) and width % _WIDTH == 0


@final
@dataclass(frozen=True, slots=True)
class _Step:
    """What all layers share: whether the kernel can run, the last place of each row, and how many places there are."""

    runs: Value
    last: Value
    total: Value
    nodes: tuple[Node, ...]

    @staticmethod
    def of(match: _Match) -> _Step:
        length, rows = match.places.inputs
        assert length is not None
        assert rows is not None
        make = _Maker(f"{length.name}/step", match.attention.origin)
        value, axis = match.heads[0].tokens
        tokens, one = make("Shape", value, start=axis, end=axis + 1), _int64("one", [1])
        total = make("Add", length, tokens)
        begun = make("And", make("Equal", tokens, one), make("Greater", length, _int64("none", [0])))
        runs = make("Or", make("Equal", rows, one), begun)
        last = make("Expand", make("Cast", make("Sub", total, one), to=ONNX_DTYPE["int32"]), rows)
        return _Step(runs, last, make("Cast", total, to=ONNX_DTYPE["int32"]), tuple(make.nodes))


class _Maker:
    """Makes operators with one output each, under names that begin alike."""

    def __init__(self, name: str, origin: Origin) -> None:
        self.name, self.origin = name, origin
        self.nodes: list[Node] = []

    def __call__(self, op: str, *inputs: Value | None, **attributes: Attribute) -> Value:
        made = Value(f"{self.name}/{op}_{len(self.nodes)}")
        self.nodes.append(Node(op, inputs, (made,), self.origin, attributes))
        return made


def _either(match: _Match, step: _Step) -> Node:
    outputs, origin = match.outputs, match.attention.origin
    branches = (_grouped(match, step), _as_before(match))
    return Node("If", (step.runs,), outputs, origin, body=branches[0], otherwise=branches[1], op=match.attention.op)


def _grouped(match: _Match, step: _Step) -> Graph:
    """The kernel, on [N, T, heads * d]."""
    origin = replace(match.attention.origin, form=f"{match.attention.origin.form.partition('.')[0]}.grouped")
    result, *caches = match.outputs
    make = _Maker(f"{result.name}/grouped", origin)
    inputs = [_joined(make, heads) for heads in match.heads]
    numbers = {"num_heads": _count(match.heads[0]), "kv_num_heads": _count(match.heads[1])}
    kept = {key: match.attention.attributes[key] for key in ("scale", "softcap") if key in match.attention.attributes}
    joined = Value(f"{make.name}/joined", TensorType(result.dtype, result.shape))
    outputs = tuple(replace(v, name=f"{v.name}/grouped") for v in (result, *caches))
    whole = result.rank == 3
    inside = (outputs[0] if whole else joined, *outputs[1:])
    given = (*inputs, *match.pasts, step.last, step.total, None, None, None, match.bias)
    make.nodes.append(Node("GroupQueryAttention", given, inside, origin, {**numbers, **kept}, "com.microsoft"))
    if not whole:
        split = make("Reshape", joined, _int64("split", [0, 0, _count(match.heads[0]), -1]))
        make.nodes.append(Node("Transpose", (split,), (outputs[0],), origin, {"perm": _SWAP}))
    return Graph("grouped", (), outputs, tuple(make.nodes))


def _joined(make: _Maker, heads: _Heads) -> Value:
    """Heads side by side, rotated if they are to be."""
    if heads.joined is None:
        return make("Reshape", make("Transpose", heads.split, perm=_SWAP), _int64("join", [0, 0, -1]))
    if heads.rotary is None:
        return heads.joined
    return make("RotaryEmbedding", heads.joined, *heads.rotary.inputs[1:], **{**heads.rotary.attributes, "num_heads": _count(heads)})


def _count(heads: _Heads) -> int:
    count = heads.split.shape[1]
    assert isinstance(count, int)
    return count


def _as_before(match: _Match) -> Graph:
    """The operators that were there, whose results have names of their own."""
    inner = {id(v): replace(v, name=f"{v.name}/otherwise") for node in match.nodes for v in node.outputs}

    def renamed(value: Value) -> Value:
        return inner.get(id(value), value)

    nodes = tuple(node.mapped(renamed, tuple(map(renamed, node.outputs))) for node in match.nodes)
    return Graph("otherwise", (), tuple(map(renamed, match.outputs)), nodes)


def _int64(name: str, numbers: list[int]) -> Constant:
    array = np.array(numbers, np.int64)
    return Constant(f"group_queries/{name}", TensorType("int64", array.shape), array)
