"""Operators on many examples at once: each value that differs from example to example has one more dim, in front.

What an operator does to one example its rule says of all of them. `batched` declines where it knows no rule: a Scan over the examples does
the same, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from lamina.compiler.builder import Builder
from lamina.compiler.graph import STANDARD, Constant, Graph, Node, Value

_ELEMENTWISE = (
    "Abs Add And Cast Ceil Clip Cos Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity LeakyRelu Less"
    " LessOrEqual Log Max Min Mish Mod Mul Neg Not Or Pow Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Swish Tanh"
    " Where Xor"
)
_AXIS = "Softmax LogSoftmax LayerNormalization RMSNormalization Concat Split Gather"
_REDUCING = "ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare ReduceL2"

ELEMENTWISE = tuple(_ELEMENTWISE.split())


@final
@dataclass(frozen=True, slots=True)
class _Known:
    """A value, its rank in one example, and whether it differs from example to example."""

    value: Value
    rank: int
    differs: bool


class _Unknown(Exception):
    """There is no rule."""


def batched(g: Builder, graph: Graph, values: Mapping[int, Value]) -> tuple[Value, ...] | None:
    """The graph's outputs where what `values` gives stands for some of its values, by identity: the same with examples in front.

    None where an operator has no such form.
    """
    try:
        outputs = _outputs(g, graph, values)
    except _Unknown:
        return None
    return tuple(k.value for k in outputs) if all(k.differs for k in outputs) else None


def _outputs(g: Builder, graph: Graph, values: Mapping[int, Value]) -> list[_Known]:
    known: dict[int, _Known] = {}
    for node in graph.nodes:
        given = [None if v is None else _of(v, known, values) for v in node.inputs]
        if not any(k is not None and k.differs for k in given):
            g.nodes.append(node)
            continue
        rule = _RULES.get(node.op_type) if node.domain == STANDARD and not node.bodies else None
        if rule is None:
            raise _Unknown
        known.update({id(output): found for output, found in zip(node.outputs, rule(g, node, given), strict=True)})
    return [_of(v, known, values) for v in graph.outputs]


def _of(value: Value, known: Mapping[int, _Known], values: Mapping[int, Value]) -> _Known:
    found = known.get(id(value))
    if found is not None:
        return found
    different = values.get(id(value))
    if value.type is None:
        raise _Unknown
    return _Known(value if different is None else different, value.rank, different is not None)


Rule = Callable[[Builder, Node, Sequence[_Known | None]], list[_Known]]


def _again(g: Builder, node: Node, inputs: Sequence[Value | None], rank: int, **changed: int | tuple[int, ...]) -> list[_Known]:
    """The same operator on other inputs, perhaps with other attributes."""
    attributes: dict[str, Any] = {**node.attributes, **changed}
    found = g(node.op_type, *inputs, outputs=len(node.outputs), **attributes)
    return [_Known(v, rank, True) for v in (found if isinstance(found, tuple) else (found,))]


def _aligned(g: Builder, k: _Known, rank: int) -> Value:
    """With so many dims in each example: those that are missing stand first, as in broadcasting."""
    if not k.differs or k.rank == rank:
        return k.value
    return g("Unsqueeze", k.value, g.ints(*range(1, 1 + rank - k.rank)))


def _elementwise(g: Builder, node: Node, given: Sequence[_Known | None]) -> list[_Known]:
    rank = max(k.rank for k in given if k is not None)
    return _again(g, node, [None if k is None else _aligned(g, k, rank) for k in given], rank)


def _matmul(g: Builder, node: Node, given: Sequence[_Known | None]) -> list[_Known]:
    a, b = _both(given)
    if a.rank < 2 or b.rank < 2:
        raise _Unknown
    rank = max(a.rank, b.rank)
    return _again(g, node, [_aligned(g, a, rank), _aligned(g, b, rank)], rank)


def _gemm(g: Builder, node: Node, given: Sequence[_Known | None]) -> list[_Known]:
    """A product, and a sum."""
    a, b = _both(given)
    flags = {name: node.attributes.get(name, default) for name, default in (("alpha", 1.0), ("beta", 1.0), ("transA", 0), ("transB", 0))}
    if flags["alpha"] != 1.0 or flags["beta"] != 1.0:
        raise _Unknown
    y = g("MatMul", _turned(g, a) if flags["transA"] else a.value, _turned(g, b) if flags["transB"] else b.value)
    bias = given[2] if len(given) > 2 else None
    return [_Known(y if bias is None else g("Add", y, _aligned(g, bias, 2)), 2, True)]


def _turned(g: Builder, k: _Known) -> Value:
    return g.transpose(k.value, *((0, 2, 1) if k.differs else (1, 0)))


def _both(given: Sequence[_Known | None]) -> tuple[_Known, _Known]:
    a, b = given[:2]
    assert a is not None
    assert b is not None
    return a, b


def _first(given: Sequence[_Known | None]) -> _Known:
    """The first input, where the others are the same in all examples."""
    first = given[0]
    if first is None or any(k is not None and k.differs for k in given[1:]):
        raise _Unknown
    return first


def _transpose(g: Builder, node: Node, given: Sequence[_Known | None]) -> list[_Known]:
    x = _first(given)
    perm = node.attributes.get("perm", tuple(reversed(range(x.rank))))
    assert isinstance(perm, tuple)
    return _again(g, node, [x.value], x.rank, perm=(0, *(int(p) + 1 for p in perm)))


def _along(g: Builder, node: Node, given: Sequence[_Known | None]) -> list[_Known]:
    """An operator along one axis; what scales or selects is the same in all examples."""
    axis = node.attributes.get("axis", 0 if node.op_type in ("Split", "Gather") else -1)
    assert isinstance(axis, int)
    if node.op_type == "Concat":
        present = [k for k in given if k is not None]
        if not all(k.differs for k in present):
            raise _Unknown
        return _again(g, node, [k.value for k in present], present[0].rank, axis=_shifted(axis))
    if node.op_type in ("LayerNormalization", "RMSNormalization") and any(k is not None and k.differs for k in given[1:]):
        return _normalized(g, node, given, axis)
    x = _first(given)
    rank = x.rank - 1 + _known_rank(given[1]) if node.op_type == "Gather" else x.rank
    return _again(g, node, [x.value, *(k and k.value for k in given[1:])], rank, axis=_shifted(axis))


def _normalized(g: Builder, node: Node, given: Sequence[_Known | None], axis: int) -> list[_Known]:
    """Scaled and shifted afterwards, by what differs."""
    (x, scale), own = _both(given), node.inputs[1]
    if axis != -1 or own is None or own.type is None or own.rank != 1:
        raise _Unknown
    one = g("Expand", g.constant(1, own.dtype), g.size(own.shape[0]))
    y = g("Mul", _again(g, node, [x.value, one], x.rank)[0].value, _aligned(g, scale, x.rank))
    shift = given[2] if len(given) > 2 else None
    return [_Known(y if shift is None else g("Add", y, _aligned(g, shift, x.rank)), x.rank, True)]


def _known_rank(k: _Known | None) -> int:
    assert k is not None
    return k.rank


def _shifted(axis: int) -> int:
    return axis + 1 if axis >= 0 else axis


def _reduced(g: Builder, node: Node, given: Sequence[_Known | None]) -> list[_Known]:
    x = _first(given)
    axes = _numbers(given[1] if len(given) > 1 else None)
    rank = x.rank if node.attributes.get("keepdims", 1) else x.rank - len(axes)
    return _again(g, node, [x.value, g.ints(*map(_shifted, axes))], rank)


def _reshaped(g: Builder, node: Node, given: Sequence[_Known | None]) -> list[_Known]:
    """A 0 keeps the size in its place, which is one further now."""
    x = _first(given)
    if node.attributes.get("allowzero", 0):
        raise _Unknown
    shape = _numbers(given[1])
    return _again(g, node, [x.value, g.ints(0, *shape)], len(shape))


def _unsqueezed(g: Builder, node: Node, given: Sequence[_Known | None]) -> list[_Known]:
    x, axes = _first(given), _numbers(given[1] if len(given) > 1 else None)
    rank = x.rank + (len(axes) if node.op_type == "Unsqueeze" else -len(axes))
    return _again(g, node, [x.value, g.ints(*map(_shifted, axes))], rank)


def _sliced(g: Builder, node: Node, given: Sequence[_Known | None]) -> list[_Known]:
    x = _first(given)
    if len(given) < 4:
        raise _Unknown
    axes = _numbers(given[3])
    rest = [k and k.value for k in given]
    return _again(g, node, [x.value, *rest[1:3], g.ints(*map(_shifted, axes)), *rest[4:]], x.rank)


def _numbers(k: _Known | None) -> tuple[int, ...]:
    if k is None or not isinstance(k.value, Constant):
        raise _Unknown
    return tuple(int(n) for n in k.value.array.reshape(-1))


_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(_AXIS.split(), _along),
    **dict.fromkeys(_REDUCING.split(), _reduced),
    **dict.fromkeys(("Unsqueeze", "Squeeze"), _unsqueezed),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Transpose": _transpose,
    "Reshape": _reshaped,
    "Slice": _sliced,
}
BATCHED = frozenset(_RULES)  # none of them minds an example without elements
