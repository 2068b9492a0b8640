"""Derived tensors: what standard operators compute from weights and constants, evaluated with NumPy when weights are written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from lamina.compiler.graph import STANDARD, Constant, Derived, Node, Parameter, Value
from lamina.compiler.numeric import numpy_dtype
from lamina.compiler.weights.arithmetic import COMPUTING, ELEMENTWISE, Function
from lamina.compiler.weights.layout import LAYOUT
from lamina.compiler.weights.shapes import Shapes
from lamina.compiler.weights.tensor import Array, ArrayTensor, Tensor, Weights, fixed_shape
from lamina.schema.dims import TensorType

_OPERATORS: dict[str, Function] = {**ELEMENTWISE, **COMPUTING, **LAYOUT}
EVALUABLE = frozenset(_OPERATORS)
_SMALL = 1024  # elements: small arrays may be sizes, whose numbers matter to shapes
Outputs = tuple[Array, ...]


def tensor_of(value: Parameter | Constant | Derived, weights: Weights) -> Tensor:
    """The tensor of a value; nothing is computed yet, except constants."""
    if isinstance(value, Parameter):
        return weights.get(value)
    if isinstance(value, Constant):
        return ArrayTensor(value.name, value.array.dtype.name, value.array.shape, value.array)
    dtype, shape = _type_of(value)
    return DerivedTensor(value.name, dtype, shape, value, weights)


def float_shape(value: Value | None) -> tuple[int, ...]:
    """The shape of a fixed tensor of float32; of any other value none."""
    if not isinstance(value, Parameter | Constant | Derived):
        return ()
    tensor = tensor_of(value, Shapes())
    return tensor.shape if tensor.dtype == "float32" else ()


def constant_outputs(node: Node, largest: int) -> tuple[Constant, ...] | None:
    """The outputs of a standard operator all of whose inputs are constants; None where one has more than `largest` bytes."""
    if any(_nbytes(v.type) > largest for v in node.outputs if v.type is not None):
        return None
    inputs = [v.array if isinstance(v, Constant) else None for v in node.inputs]
    stand_ins = _stand_ins(node, inputs)
    arrays = evaluate(node, inputs) if stand_ins is None else stand_ins
    if any(a.nbytes > largest for a in arrays):
        return None
    arrays = arrays if stand_ins is None else evaluate(node, inputs)
    return tuple(Constant(v.name, TensorType(a.dtype.name, a.shape), a) for v, a in zip(node.outputs, arrays, strict=True))


def is_evaluable(node: Node) -> bool:
    """Whether it can be computed here, once its inputs are known."""
    return node.domain == STANDARD and node.op_type in EVALUABLE


def evaluate(node: Node, inputs: Sequence[Array | None]) -> Outputs:
    """Run one evaluable operator on arrays."""
    with np.errstate(all="ignore"):  # infinities and NaN are results like others, as in the runtimes
        result = _OPERATORS[node.op_type](inputs, node.attributes)
    return result if isinstance(result, tuple) else (np.asarray(result),)


@final
@dataclass(frozen=True, slots=True, eq=False)
class DerivedTensor(Tensor):
    """A tensor computed when it is asked for. Transposes stay views, so that they are written piece by piece."""

    value: Derived
    weights: Weights

    def numpy(self) -> Array:
        return _run(self.value, lambda parameter: self.weights.get(parameter).numpy(), evaluate)


def stand_in(value: Parameter | Derived) -> Constant:
    """A constant of the value's dtype and shape, with wrong numbers, which take no memory."""
    dtype, shape = _type_of(value)
    return Constant(value.name, TensorType(dtype, shape), np.broadcast_to(np.ones((), numpy_dtype(dtype)), shape))


def _type_of(value: Parameter | Derived) -> tuple[str, tuple[int, ...]]:
    """dtype and shape, from the value's type or else by running its operators on stand-ins for the weights."""
    if value.type is not None:
        return value.dtype, fixed_shape(value)
    assert isinstance(value, Derived)
    array = _run(value, _stand_in, _evaluate_shape)
    return array.dtype.name, array.shape


def _stand_in(parameter: Parameter) -> Array:
    return np.broadcast_to(np.ones((), numpy_dtype(parameter.dtype)), fixed_shape(parameter))


def _nbytes(type_: TensorType) -> int:
    """Bytes of a tensor of fixed shape."""
    return math.prod(s for s in type_.shape if isinstance(s, int)) * numpy_dtype(type_.dtype).itemsize


def _evaluate_shape(node: Node, inputs: Sequence[Array | None]) -> Outputs:
    """What `evaluate` gives, with wrong numbers of right dtype and shape where numbers would cost time."""
    return _stand_ins(node, inputs) or evaluate(node, inputs)


def _stand_ins(node: Node, inputs: Sequence[Array | None]) -> Outputs | None:
    """Outputs with wrong numbers, of right dtype and shape; None where the right ones cost no more."""
    given = [a for a in inputs if a is not None]
    if node.op_type in ELEMENTWISE and max(a.size for a in given) > _SMALL:
        ones = [None if a is None else np.ones(1, a.dtype) for a in inputs]
        return (np.broadcast_to(evaluate(node, ones)[0], np.broadcast_shapes(*(a.shape for a in given))),)
    if node.op_type == "MatMul" and all(a.ndim > 1 for a in given):
        return evaluate(node, [given[0][..., :1], given[1][..., :1, :]])
    return None


Run = Callable[[Node, Sequence[Array | None]], Outputs]


def _run(value: Derived, leaf: Callable[[Parameter], Array], run: Run) -> Array:
    """The value's array. Each operator runs once, each weight is read once, and what no other operator needs any more is let go."""
    order = _ordered(value)
    readers = Counter(_slot(v) for node in order for v in node.inputs if v is not None)
    readers[_slot(value)] += 1
    done: dict[Slot, Array] = {}
    for node in order:
        results = run(node, [None if v is None else _read(v, done, leaf) for v in node.inputs])
        done.update({(id(node), output.name): array for output, array in zip(node.outputs, results, strict=True)})
        readers.subtract(_slot(v) for v in node.inputs if v is not None)
        for slot in [slot for slot in done if not readers[slot]]:
            del done[slot]
    return done[_slot(value)]


Slot = tuple[int, str]


def _slot(value: Value) -> Slot:
    """What identifies a value's array: two derived tensors may stand for the same output of one operator."""
    return id(value.node if isinstance(value, Derived) else value), value.name


def _read(value: Value, done: dict[Slot, Array], leaf: Callable[[Parameter], Array]) -> Array:
    if isinstance(value, Constant):
        return value.array
    if isinstance(value, Parameter) and _slot(value) not in done:
        done[_slot(value)] = leaf(value)
    return done[_slot(value)]


def _ordered(value: Derived) -> list[Node]:
    """The operators under a value, each after those that it reads."""
    order: list[Node] = []
    seen: set[int] = set()
    pending = [(value.node, False)]
    while pending:
        node, ready = pending.pop()
        if ready:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            pending += [(node, True), *((v.node, False) for v in node.inputs if isinstance(v, Derived))]
    return order
