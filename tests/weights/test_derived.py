"""Derived tensors: every operator against onnx's reference evaluator, laziness, shapes without numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from lamina.compiler.graph import Constant, Derived, Node, Origin, Parameter, Value
from lamina.compiler.weights.derived import EVALUABLE, constant_outputs, evaluate, tensor_of
from lamina.compiler.weights.seeded import Seeded
from lamina.compiler.weights.shapes import Shapes
from lamina.schema.diagnostics import Span
from lamina.schema.dims import TensorType

RNG = np.random.default_rng(0)
ORIGIN = Origin(Span("spec.yaml", 1, 1), "")
X, Y = RNG.standard_normal((3, 4, 5)).astype(np.float32), RNG.standard_normal((4, 1)).astype(np.float32)
POSITIVE = np.abs(X) + 0.5
INTS, BOOLS = RNG.integers(-9, 9, (3, 4)), X > 0
M = np.int64


def ints(*values: int) -> np.ndarray:
    return np.array(values, M)


CASES: list[tuple[str, Sequence[np.ndarray | None], Mapping[str, Any]]] = [
    *(
        (op, [X], {})
        for op in [
            "Abs",
            "Ceil",
            "Cos",
            "Exp",
            "Floor",
            "Identity",
            "Neg",
            "Relu",
            "Round",
            "Sigmoid",
            "Sign",
            "Sin",
            "Softplus",
            "Tan",
            "Tanh",
        ]
    ),
    *((op, [POSITIVE], {}) for op in ["Log", "Sqrt", "Reciprocal"]),
    *(
        (op, [X, Y], {})
        for op in ["Add", "Sub", "Mul", "Div", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Max", "Min", "Sum"]
    ),
    *((op, [X, Y, X], {}) for op in ["Max", "Min", "Sum"]),
    *((op, [BOOLS, ~BOOLS[:1]], {}) for op in ["And", "Or"]),
    ("Not", [BOOLS], {}),
    ("Div", [INTS, np.array([[-4], [3], [2]], M)], {}),
    ("Mod", [INTS, ints(3, -3, 5, 4)], {}),
    ("Mod", [X, Y], {"fmod": 1}),
    ("Pow", [POSITIVE, Y], {}),
    ("Pow", [POSITIVE, ints(2)], {}),
    ("Clip", [X, np.float32(-0.5), np.float32(0.25)], {}),
    ("Clip", [X, None, np.float32(0.25)], {}),
    ("Where", [BOOLS, X, Y], {}),
    ("Cast", [X], {"to": onnx.TensorProto.FLOAT16}),
    ("Cast", [X * 3], {"to": onnx.TensorProto.INT32}),
    ("Cast", [X], {"to": onnx.TensorProto.BOOL}),
    ("CastLike", [X, np.zeros(1, np.float64)], {}),
    ("MatMul", [X, X.transpose(0, 2, 1)], {}),
    ("MatMul", [X, X[0, 0]], {}),
    ("Gemm", [X[0], X[1], np.float32(2)], {"transB": 1, "alpha": 0.5, "beta": 3.0}),
    ("Gemm", [X[0], X[1]], {"transA": 1}),
    ("Softmax", [X], {"axis": 1}),
    ("CumSum", [X, np.array(1, M)], {"exclusive": 1, "reverse": 1}),
    ("CumSum", [X, np.array(-1, M)], {}),
    *((op, [POSITIVE, ints(0, -1)], {"keepdims": 0}) for op in sorted(EVALUABLE) if op.startswith("Reduce")),
    *((op, [POSITIVE], {}) for op in sorted(EVALUABLE) if op.startswith("Reduce")),
    ("ReduceSum", [X, ints()], {"noop_with_empty_axes": 1}),
    ("Transpose", [X], {"perm": (2, 0, 1)}),
    ("Transpose", [X], {}),
    ("Reshape", [X, ints(0, 2, -1)], {}),
    ("Reshape", [X[:0], ints(0, 7)], {"allowzero": 1}),
    ("Flatten", [X], {"axis": 2}),
    ("Flatten", [X], {}),
    ("Squeeze", [X[:, :1], ints(1)], {}),
    ("Squeeze", [X[:1, :, :1]], {}),
    ("Unsqueeze", [X, ints(0, -1)], {}),
    ("Concat", [X, X[:, :1]], {"axis": 1}),
    ("Split", [X], {"num_outputs": 3, "axis": 2}),
    ("Split", [X, ints(1, 3)], {"axis": 1}),
    ("Slice", [X, ints(1), ints(10**9)], {}),
    ("Slice", [X, ints(-1, 3), ints(-(10**9), 0), ints(0, 2), ints(-1, -2)], {}),
    ("Gather", [X, np.array([[0, -1]], M)], {"axis": 1}),
    ("Gather", [X, np.array(1, M)], {}),
    ("Expand", [Y, ints(2, 1, 3)], {}),
    ("Expand", [X, ints(1)], {}),
    ("Tile", [Y, ints(2, 3)], {}),
    ("Pad", [X, ints(0, 1, 2, 1, 0, 0), np.float32(7)], {}),
    ("Pad", [X, ints(1, 2), None, ints(-1)], {"mode": "reflect"}),
    ("Pad", [X, ints(2, 0), None, ints(1)], {"mode": "edge"}),
    ("Shape", [X], {"start": 1}),
    ("Shape", [X], {"start": -2, "end": -1}),
    ("Size", [X], {}),
    ("ConstantOfShape", [ints(2, 3)], {"value": np.array([7], M)}),
    ("ConstantOfShape", [ints(2)], {}),
    ("Range", [np.array(7, M), np.array(-2, M), np.array(-3, M)], {}),
    ("Range", [np.float32(0), np.float32(1), np.float32(0.3)], {}),
    ("Trilu", [X, np.array(1, M)], {"upper": 0}),
    ("Trilu", [X], {}),
]


def reference(op: str, inputs: Sequence[np.ndarray | None], attributes: Mapping[str, Any], outputs: int) -> list[np.ndarray]:
    attributes = {k: onnx.numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v for k, v in attributes.items()}
    names = ["" if a is None else f"i{i}" for i, a in enumerate(inputs)]
    node = onnx.helper.make_node(op, names, [f"o{i}" for i in range(outputs)], **attributes)
    given = {name: np.asarray(a) for name, a in zip(names, inputs, strict=True) if a is not None}
    infos = [onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in given.items()]
    results = [onnx.helper.make_tensor_value_info(f"o{i}", onnx.TensorProto.UNDEFINED, None) for i in range(outputs)]
    graph = onnx.helper.make_graph([node], "g", infos, results)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 24)])
    return ReferenceEvaluator(model).run(None, given)


def make(op: str, inputs: Sequence[Any], attributes: Mapping[str, Any], outputs: int = 1) -> Node:
    return Node(op, tuple(inputs), tuple(Value(f"{op}.{i}") for i in range(outputs)), ORIGIN, attributes)


@pytest.mark.parametrize(("op", "inputs", "attributes"), CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)])
def test_operators_agree_with_the_reference(op: str, inputs: Sequence[np.ndarray | None], attributes: Mapping[str, Any]) -> None:
    outputs = attributes.get("num_outputs", 2) if op == "Split" else 1
    arrays = [None if a is None else np.asarray(a) for a in inputs]
    got = evaluate(make(op, arrays, attributes, outputs), arrays)
    expected = reference(op, inputs, attributes, outputs)
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-6, atol=1e-6, strict=True)


def test_every_operator_has_a_case() -> None:
    assert {case[0] for case in CASES} == EVALUABLE


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_floats_are_rounded_once(dtype: Any) -> None:
    """Against float64: the error of a sum of a thousand numbers, or of a chain inside sigmoid, is half a unit in the last place."""
    x = RNG.uniform(0.5, 1, (4, 1000)).astype(dtype)
    for op, inputs, exact in [
        ("ReduceSum", [x, ints(1)], x.astype(np.float64).sum(1, keepdims=True)),
        ("Sigmoid", [x], 1 / (1 + np.exp(-x.astype(np.float64)))),
        ("MatMul", [x, x.T], x.astype(np.float64) @ x.T.astype(np.float64)),
    ]:
        (got,) = evaluate(make(op, inputs, {}), inputs)
        assert got.dtype == dtype
        half = float(ml_dtypes.finfo(dtype).eps) * 0.501
        np.testing.assert_allclose(got.astype(np.float64), exact, rtol=half)


def parameter(name: str, *shape: int, dtype: str = "float32") -> Parameter:
    return Parameter(name, TensorType(dtype, shape), init="normal(1)")


def constant(array: np.ndarray) -> Constant:
    return Constant("c", TensorType(array.dtype.name, array.shape), array)


def derived(op: str, *inputs: Value, **attributes: Any) -> Derived:
    node = make(op, inputs, attributes)
    return Derived(node.outputs[0].name, None, node)


def folded_convolution() -> tuple[Derived, Parameter, Parameter]:
    weight, scale = parameter("conv.weight", 8, 3, 3, 3), parameter("bn.weight", 8)
    return derived("Mul", weight, derived("Reshape", scale, constant(ints(-1, 1, 1, 1)))), weight, scale


def test_a_chain_over_parameters() -> None:
    value, weight, scale = folded_convolution()
    tensor = tensor_of(value, Seeded(0))
    expected = Seeded(0).get(weight).numpy() * Seeded(0).get(scale).numpy().reshape(8, 1, 1, 1)
    assert (tensor.name, tensor.dtype, tensor.shape) == (value.name, "float32", (8, 3, 3, 3))
    np.testing.assert_array_equal(tensor.numpy(), expected)
    np.testing.assert_array_equal(np.concatenate(list(tensor.chunks(64))), expected.reshape(-1))


def test_each_operator_runs_once_and_deep_chains_run(monkeypatch: pytest.MonkeyPatch) -> None:
    value = derived("Identity", parameter("w", 2))
    for _ in range(3000):  # 2^3000 runs, were nothing shared; and deeper than Python's stack
        value = derived("Mul", derived("Add", value, value), constant(np.float32([0.5])))
    np.testing.assert_array_equal(tensor_of(value, Seeded(0)).numpy(), Seeded(0).get(parameter("w", 2)).numpy())


def test_outputs_of_one_operator_find_themselves() -> None:
    node = make("Split", [parameter("w", 6, 2)], {"num_outputs": 3, "axis": 0}, outputs=3)
    parts = [Derived(v.name, None, node) for v in node.outputs]
    joined = derived("Concat", parts[2], Derived(parts[2].name, None, node), parts[0], axis=0)
    whole = Seeded(0).get(parameter("w", 6, 2)).numpy()
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(tensor_of(part, Seeded(0)).numpy(), whole[2 * i : 2 * i + 2])
    np.testing.assert_array_equal(tensor_of(joined, Seeded(0)).numpy(), np.concatenate([whole[4:], whole[4:], whole[:2]]))


def test_shapes_are_known_without_numbers_and_without_their_cost() -> None:
    big = parameter("w", 200_000, 100_000, dtype="float16")  # 40 GB, were it made
    product = derived("MatMul", derived("Transpose", parameter("a", 10**9, 6)), parameter("b", 10**9, 7))
    for value, dtype, shape in [
        (derived("Transpose", derived("Mul", big, constant(np.float16([2]))), perm=(1, 0)), "float16", (100_000, 200_000)),
        (derived("Cast", derived("Reshape", big, constant(ints(100, -1))), to=1), "float32", (100, 200_000_000)),
        (product, "float32", (6, 7)),
        (derived("Reshape", big, derived("Mul", derived("Shape", big), constant(ints(1, 1)))), "float16", (200_000, 100_000)),
        (derived("Less", big, big), "bool", (200_000, 100_000)),
    ]:
        tensor = tensor_of(value, Shapes())
        assert (tensor.dtype, tensor.shape) == (dtype, shape)


def test_there_are_no_numbers_without_weights() -> None:
    with pytest.raises(ValueError, match="w has no numbers"):
        tensor_of(parameter("w", 2), Shapes()).numpy()


def test_constants_fold() -> None:
    node = make("Add", [constant(ints(1, 2)), constant(ints(10))], {})
    (folded,) = constant_outputs(node, 1 << 20)
    assert (folded.name, folded.type, folded.array.tolist()) == ("Add.0", TensorType("int64", (2,)), [11, 12])
    assert tensor_of(folded, Shapes()).numpy().tolist() == [11, 12]


def test_a_big_transpose_is_written_in_pieces() -> None:
    import tracemalloc

    tensor = tensor_of(derived("Transpose", parameter("w", 4096, 2048, dtype="float16")), Seeded(0))
    tensor.numpy()
    tracemalloc.start()
    total = sum(chunk.size for chunk in tensor.chunks(1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 4096 * 2048
    assert peak < 20 << 20  # the weight is 16 MiB; its transpose would be as many again
