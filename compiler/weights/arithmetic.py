"""Standard operators that compute new numbers, in NumPy: one small function each, with ONNX's semantics (opset 24).

They give the same bits on every machine, so NumPy is asked only for what IEEE 754 defines, and for sums in an order of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from lamina.compiler import elementary
from lamina.compiler.numeric import ONNX_DTYPE, numpy_dtype
from lamina.compiler.weights.products import product
from lamina.compiler.weights.tensor import Array

Attributes = Mapping[str, Any]
Inputs = Sequence[Any]  # arrays; None for an optional input that is not given
Function = Callable[[Inputs, Attributes], Any]
_BY_NUMBER = {number: name for name, number in ONNX_DTYPE.items()}
_NARROW = ("float16", "bfloat16")  # computed in float32 and rounded once, as hardware does


def widened(function: Function) -> Function:
    """The function, computing in float32 where its inputs are narrower; results keep the first input's dtype."""

    def run(inputs: Inputs, attributes: Attributes) -> Any:
        dtype = inputs[0].dtype
        if dtype.name not in _NARROW:
            return np.asarray(function(inputs, attributes)).astype(dtype, copy=False)
        wide = [a.astype(np.float32) if a is not None and a.dtype.name in _NARROW else a for a in inputs]
        return np.asarray(function(wide, attributes)).astype(dtype)

    return run


def _ufunc(function: Callable[..., Any]) -> Function:
    return widened(lambda inputs, attributes: function(*inputs))


def _real(function: Callable[..., Array]) -> Function:
    """An elementary function of float64."""
    return lambda inputs, attributes: function(*inputs).astype(inputs[0].dtype)


def _test(function: Callable[..., Any]) -> Function:
    return lambda inputs, attributes: function(*inputs)


def _many(function: Callable[..., Any]) -> Function:
    return widened(lambda inputs, attributes: reduce(function, inputs))


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind not in "iu":
        return np.asarray(np.divide(a, b))
    return np.asarray(np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b)))  # ONNX truncates, Python floors


def _pow(inputs: Inputs, attributes: Attributes) -> Any:
    whole = all(x.dtype.kind in "iu" for x in inputs)
    return (np.power if whole else elementary.power)(*inputs).astype(inputs[0].dtype)


def _mod(inputs: Inputs, attributes: Attributes) -> Any:
    return (np.fmod if attributes.get("fmod", 0) else np.mod)(*inputs)


def _clip(inputs: Inputs, attributes: Attributes) -> Any:
    low, high = (*inputs[1:], None, None)[:2]
    raised = inputs[0] if low is None else np.maximum(inputs[0], low)
    return raised if high is None else np.minimum(raised, high)


def _cast(inputs: Inputs, attributes: Attributes) -> Any:
    return inputs[0].astype(numpy_dtype(_BY_NUMBER[attributes["to"]]))


def _where(inputs: Inputs, attributes: Attributes) -> Any:
    return np.where(*inputs)


ELEMENTWISE: dict[str, Function] = {
    "Abs": _ufunc(np.abs),
    "Add": _ufunc(np.add),
    "And": _test(np.logical_and),
    "Cast": _cast,
    "CastLike": lambda inputs, attributes: inputs[0].astype(inputs[1].dtype),
    "Ceil": _ufunc(np.ceil),
    "Clip": widened(_clip),
    "Cos": _real(elementary.cos),
    "Div": _ufunc(_divide),
    "Equal": _test(np.equal),
    "Exp": _real(elementary.exp),
    "Floor": _ufunc(np.floor),
    "Greater": _test(np.greater),
    "GreaterOrEqual": _test(np.greater_equal),
    "Identity": lambda inputs, attributes: inputs[0],
    "Less": _test(np.less),
    "LessOrEqual": _test(np.less_equal),
    "Log": _real(elementary.log),
    "Max": _many(np.maximum),
    "Min": _many(np.minimum),
    "Mod": widened(_mod),
    "Mul": _ufunc(np.multiply),
    "Neg": _ufunc(np.negative),
    "Not": _test(np.logical_not),
    "Or": _test(np.logical_or),
    "Pow": _pow,
    "Reciprocal": _ufunc(lambda x: 1 / x),
    "Relu": _ufunc(lambda x: np.maximum(x, 0)),
    "Round": _ufunc(np.rint),
    "Sigmoid": _real(elementary.sigmoid),
    "Sign": _ufunc(np.sign),
    "Sin": _real(elementary.sin),
    "Softplus": _real(elementary.softplus),
    "Sqrt": _ufunc(np.sqrt),
    "Sub": _ufunc(np.subtract),
    "Sum": _many(np.add),
    "Tan": _real(elementary.tan),
    "Tanh": _real(elementary.tanh),
    "Where": _where,
}


def _reduction(function: Callable[..., Any]) -> Function:
    @widened
    def run(inputs: Inputs, attributes: Attributes) -> Any:
        axes = None if len(inputs) < 2 or inputs[1] is None or not inputs[1].size else tuple(inputs[1].tolist())
        if axes is None and attributes.get("noop_with_empty_axes", 0):
            axes = ()
        return function(inputs[0], axis=axes, keepdims=bool(attributes.get("keepdims", 1)))

    return run


def _matmul(inputs: Inputs, attributes: Attributes) -> Any:
    return product(*inputs)


def _gemm(inputs: Inputs, attributes: Attributes) -> Any:
    a = inputs[0].T if attributes.get("transA", 0) else inputs[0]
    b = inputs[1].T if attributes.get("transB", 0) else inputs[1]
    scaled = product(a, b) * attributes.get("alpha", 1.0)
    return scaled if len(inputs) < 3 or inputs[2] is None else scaled + inputs[2] * attributes.get("beta", 1.0)


def _softmax(inputs: Inputs, attributes: Attributes) -> Any:
    axis = attributes.get("axis", -1)
    powers = elementary.exp(inputs[0] - inputs[0].max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def _cumsum(inputs: Inputs, attributes: Attributes) -> Any:
    x, axis = inputs[0], int(inputs[1].reshape(()))
    x = np.flip(x, axis) if attributes.get("reverse", 0) else x
    total = np.cumsum(x, axis) - x if attributes.get("exclusive", 0) else np.cumsum(x, axis)
    return np.flip(total, axis) if attributes.get("reverse", 0) else total


COMPUTING: dict[str, Function] = {
    "CumSum": widened(_cumsum),
    "Gemm": widened(_gemm),
    "MatMul": widened(_matmul),
    "ReduceL2": _reduction(lambda x, **how: np.sqrt(np.square(x).sum(**how))),
    "ReduceMax": _reduction(np.max),
    "ReduceMean": _reduction(np.mean),
    "ReduceMin": _reduction(np.min),
    "ReduceProd": _reduction(np.prod),
    "ReduceSum": _reduction(np.sum),
    "ReduceSumSquare": _reduction(lambda x, **how: np.square(x).sum(**how)),
    "Softmax": widened(_softmax),
}
