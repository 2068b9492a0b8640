"""Our linear layer on a matrix unit of bfloat16, against float64: as exact as float32, at any size, with numbers of all kinds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from lamina.runtime import native

Array = np.ndarray[Any, Any]
REFUSED = tuple(getattr(ort.capi.onnxruntime_pybind11_state, kind) for kind in ("InvalidArgument", "Fail", "RuntimeException"))
pytestmark = pytest.mark.skipif(native.instructions() != "AMX", reason="the processor has no matrix unit of bfloat16")


def opened(fixed: dict[str, Array], given: tuple[str, ...] = ("x",), op: str = "Linear") -> ort.InferenceSession:
    """A session of one layer; what is not `given` when it runs is the file's."""
    nodes = [helper.make_node(op, ["x", *fixed], ["y"], domain="lamina.native")]
    if op == "MatMul":
        nodes = [helper.make_node(op, ["x", "weight"], ["y"])]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in given]
    stored = [numpy_helper.from_array(array, name) for name, array in fixed.items() if name not in given]
    graph = helper.make_graph(nodes, "g", infos, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], stored)
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("lamina.native", 1)]
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 2, 4
    options.register_custom_ops_library(str(native.library()))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=11)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    fixed = {"weight": weight, **({} if bias is None else {"bias": bias})}
    return opened(fixed).run(None, {"x": x})[0]  # type: ignore[no-any-return]


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def error(y: Array, exact: Array) -> float:
    return float(np.sqrt(((y - exact) ** 2).mean() / (exact**2).mean()))


@pytest.mark.parametrize("rows", [9, 16, 17, 32, 33, 70])
@pytest.mark.parametrize(("depth", "width"), [(1, 1), (7, 33), (32, 32), (33, 70), (64, 16), (800, 40), (1570, 31)])
def test_is_as_exact_as_float32(rows: int, depth: int, width: int) -> None:
    """To what rounding each sum as often as there are products would leave, half a unit each time, at random."""
    x, weight, bias = drawn(rows, depth), drawn(depth, width, seed=1), drawn(width, seed=2)
    exact = x.astype(np.float64) @ weight + bias
    np.testing.assert_allclose(linear(x, weight, bias), exact, atol=4 * 2.0**-24 * np.abs(exact).max() * (1 + depth**0.5), rtol=0)


@pytest.mark.parametrize("depth", [64, 384, 2048])
def test_errs_like_onnx_runtimes_own_product(depth: int) -> None:
    """That one adds up pieces of a long sum apart, which errs a little less."""
    x, weight = drawn(64, depth), drawn(depth, 96, seed=1)
    exact = x.astype(np.float64) @ weight
    theirs = opened({"weight": weight}, op="MatMul").run(None, {"x": x})[0]
    assert error(linear(x, weight), exact) < 1.4 * error(theirs, exact)


def test_all_bits_of_a_number_count() -> None:
    """A product with the identity is x to the last bit, whatever its magnitude."""
    bits = np.random.default_rng(0).integers(0x20000000, 0x5F000000, (48, 64), np.uint32)
    x = bits.view(np.float32)
    np.testing.assert_array_equal(linear(x, np.eye(64, dtype=np.float32)), x)
    np.testing.assert_array_equal(linear(np.eye(64, dtype=np.float32), x.T.copy().reshape(64, 48)), x.T)


def test_more_rows_than_are_split_at_once() -> None:
    x, weight = drawn(3000, 520), drawn(520, 9, seed=1)
    assert error(linear(x, weight), x.astype(np.float64) @ weight) < 1e-6


@pytest.mark.parametrize("shape", [(5,), (1, 5), (8, 5), (2, 3, 4, 5), (0, 5), (3, 0, 5)])
def test_any_rank_and_few_rows(shape: tuple[int, ...]) -> None:
    x, weight, bias = drawn(*shape), drawn(5, 300, seed=1), drawn(300, seed=2)
    y = linear(x, weight, bias)
    assert y.shape == (*shape[:-1], 300)
    np.testing.assert_allclose(y, x.astype(np.float64) @ weight + bias, atol=1e-5, rtol=0)


def test_what_is_not_finite_is_as_in_float32() -> None:
    x, weight = drawn(100, 64), drawn(64, 64, seed=1)
    x[3, 5], x[40, 1], x[41, 2], x[99, 0] = np.inf, np.nan, -np.inf, np.finfo(np.float32).max
    weight[0] *= 0.5
    with np.errstate(invalid="ignore"):
        expected = opened({"weight": weight}, op="MatMul").run(None, {"x": x})[0]
    y = linear(x, weight)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))
    kept = np.isfinite(expected)
    np.testing.assert_allclose(y[kept], expected[kept], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_a_weight_that_is_not_finite(odd: float) -> None:
    x, weight = drawn(40, 32), drawn(32, 32, seed=1)
    weight[3, 7] = odd
    y = linear(x, weight)
    assert not np.isfinite(y[:, 7]).any()
    np.testing.assert_allclose(np.delete(y, 7, 1), np.delete(x.astype(np.float64), 3, 1) @ np.delete(np.delete(weight, 7, 1), 3, 0)
                               + x[:, 3:4].astype(np.float64) * np.delete(weight, 7, 1)[3], atol=1e-4)  # fmt: skip


def test_several_calls_at_once() -> None:
    """They share memory for rows, one after the other."""
    layers = [(drawn(rows, 96, seed=rows), opened({"weight": drawn(96, 64, seed=1)})) for rows in (40, 300, 17, 1000)]
    alone = [session.run(None, {"x": x})[0] for x, session in layers]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(30):
            found = pool.map(lambda pair: pair[1].run(None, {"x": pair[0]})[0], layers)
            for y, expected in zip(found, alone, strict=True):
                np.testing.assert_array_equal(y, expected)


def test_sizes_that_do_not_fit_are_refused() -> None:
    session = opened({"weight": drawn(8, 8)})
    with pytest.raises(REFUSED, match="last dimension"):
        session.run(None, {"x": drawn(20, 9)})
    with pytest.raises(REFUSED, match="width"):
        opened({"weight": drawn(8, 8), "bias": drawn(7)})
    with pytest.raises(REFUSED, match="rank"):
        opened({"weight": drawn(8, 8, 8)})


@pytest.mark.parametrize("given", ["weight", "bias"])
def test_what_is_not_fixed_is_refused(given: str) -> None:
    with pytest.raises(REFUSED, match="constant"):
        opened({"weight": drawn(8, 8), "bias": drawn(8)}, ("x", given))
