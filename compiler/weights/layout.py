"""Standard operators that move numbers without computing, in NumPy: one small function each, with ONNX's semantics (opset 24)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.compiler.weights.arithmetic import Attributes, Function, Inputs
from lamina.compiler.weights.tensor import Array


def _ints(inputs: Inputs, index: int) -> list[int] | None:
    if len(inputs) <= index or inputs[index] is None:
        return None
    return [int(i) for i in inputs[index].reshape(-1)]


def _transpose(inputs: Inputs, attributes: Attributes) -> Array:
    result: Array = inputs[0].transpose(attributes.get("perm"))
    return result


def _reshape(inputs: Inputs, attributes: Attributes) -> Array:
    sizes = _ints(inputs, 1) or []
    if not attributes.get("allowzero", 0):
        sizes = [inputs[0].shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return np.reshape(inputs[0], sizes)


def _flatten(inputs: Inputs, attributes: Attributes) -> Array:
    axis = attributes.get("axis", 1)
    rows = int(np.prod(inputs[0].shape[:axis], dtype=np.int64))
    return np.reshape(inputs[0], (rows, inputs[0].size // max(rows, 1)))


def _squeeze(inputs: Inputs, attributes: Attributes) -> Array:
    axes = _ints(inputs, 1)
    result: Array = inputs[0].squeeze(None if axes is None else tuple(axes))
    return result


def _unsqueeze(inputs: Inputs, attributes: Attributes) -> Array:
    return np.expand_dims(inputs[0], tuple(_ints(inputs, 1) or ()))


def _concat(inputs: Inputs, attributes: Attributes) -> Array:
    return np.concatenate(inputs, axis=attributes["axis"])


def _split(inputs: Inputs, attributes: Attributes) -> tuple[Array, ...]:
    x, sizes, axis = inputs[0], _ints(inputs, 1), attributes.get("axis", 0)
    if sizes is None:
        each = -(-x.shape[axis] // attributes["num_outputs"])
        sizes = [each] * (attributes["num_outputs"] - 1)
    return tuple(np.split(x, np.cumsum(sizes)[: attributes.get("num_outputs", len(sizes)) - 1], axis=axis))


def _slice(inputs: Inputs, attributes: Attributes) -> Array:
    starts, ends = _ints(inputs, 1) or [], _ints(inputs, 2) or []
    axes, steps = _ints(inputs, 3) or range(len(starts)), _ints(inputs, 4) or [1] * len(starts)
    index = [slice(None)] * inputs[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        before_first = step < 0 and end < -inputs[0].shape[axis]
        index[axis] = slice(start, None if before_first else end, step)
    result: Array = inputs[0][tuple(index)]
    return result


def _gather(inputs: Inputs, attributes: Attributes) -> Array:
    result: Array = inputs[0].take(inputs[1], axis=attributes.get("axis", 0))
    return result


def _expand(inputs: Inputs, attributes: Attributes) -> Array:
    return np.broadcast_to(inputs[0], np.broadcast_shapes(inputs[0].shape, tuple(_ints(inputs, 1) or ())))


def _tile(inputs: Inputs, attributes: Attributes) -> Array:
    return np.tile(inputs[0], _ints(inputs, 1) or [])


def _pad(inputs: Inputs, attributes: Attributes) -> Array:
    x, pads, mode = inputs[0], _ints(inputs, 1) or [], attributes.get("mode", "constant")
    axes, widths = _ints(inputs, 3) or range(x.ndim), [(0, 0)] * x.ndim
    for i, axis in enumerate(axes):
        widths[axis] = (pads[i], pads[i + len(pads) // 2])
    cut = tuple(slice(max(-a, 0), x.shape[i] - max(-b, 0)) for i, (a, b) in enumerate(widths))  # negative pads crop
    grown = [(max(a, 0), max(b, 0)) for a, b in widths]
    if mode != "constant":
        return np.pad(x[cut], grown, mode=mode)
    return np.pad(x[cut], grown, constant_values=inputs[2].reshape(()) if len(inputs) > 2 and inputs[2] is not None else 0)


def _shape(inputs: Inputs, attributes: Attributes) -> Array:
    return np.array(inputs[0].shape[attributes.get("start", 0) : attributes.get("end")], np.int64)


def _constant_of_shape(inputs: Inputs, attributes: Attributes) -> Array:
    value: Any = attributes.get("value")
    return np.broadcast_to(np.float32(0) if value is None else value.reshape(()), tuple(_ints(inputs, 0) or ()))


def _range(inputs: Inputs, attributes: Attributes) -> Array:
    start, limit, delta = (v.reshape(()) for v in inputs)
    count = max(int(np.ceil((limit - start) / delta)), 0)
    return np.asarray(start + np.arange(count, dtype=start.dtype) * delta, start.dtype)


def _trilu(inputs: Inputs, attributes: Attributes) -> Array:
    k = (_ints(inputs, 1) or [0])[0]
    return np.triu(inputs[0], k) if attributes.get("upper", 1) else np.tril(inputs[0], k)


LAYOUT: dict[str, Function] = {
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": lambda inputs, attributes: np.array(inputs[0].size, np.int64),
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
}
