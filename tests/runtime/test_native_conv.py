"""Our convolution of 3 by 3 against float64: as exact as float32, at any size and padding, with numbers of all kinds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from lamina.runtime import native

Array = np.ndarray[Any, Any]
REFUSED = tuple(getattr(ort.capi.onnxruntime_pybind11_state, kind) for kind in ("InvalidArgument", "Fail", "RuntimeException"))
pytestmark = pytest.mark.skipif(native.instructions() in (None, "none"), reason="the processor has not AVX2")


@pytest.fixture(autouse=True, params=["avx2", "avx512"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each form of the kernel, where the processor has it; else the same one again."""
    monkeypatch.setenv("LAMINA_INSTRUCTIONS", request.param)


def opened(weight: Array, bias: Array, pads: tuple[int, int, int, int] = (1, 1, 1, 1), *, given: bool = False) -> ort.InferenceSession:
    """A session of one convolution, with the filters in the file, or `given` when it runs."""
    inputs = ["x", *(["weight"] if given else [])]
    sides = dict(zip(("top", "left", "bottom", "right"), pads, strict=True))
    node = helper.make_node("Conv", ["x", "weight", "bias"], ["y"], domain="lamina.native", **sides)
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs]
    stored = [numpy_helper.from_array(bias, "bias"), *([] if given else [numpy_helper.from_array(weight, "weight")])]
    graph = helper.make_graph([node], "g", infos, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], stored)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 2, 4
    options.register_custom_ops_library(str(native.library()))
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("lamina.native", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=11)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def exact(x: Array, weight: Array, bias: Array, pads: tuple[int, int, int, int] = (1, 1, 1, 1)) -> Array:
    top, left, bottom, right = pads
    a, b, c = (torch.from_numpy(array).double() for array in (x, weight, bias))
    found: Array = F.conv2d(F.pad(a, (left, right, top, bottom)), b, c).numpy()
    return found


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(y: Array, wanted: Array, channels: int) -> None:
    """To what rounding each sum as often as there are products would leave, half a unit each time, at random."""
    assert y.shape == wanted.shape
    np.testing.assert_allclose(y, wanted, rtol=0, atol=4 * 2.0**-24 * np.abs(wanted).max(initial=1) * (1 + (9 * channels) ** 0.5))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (7, 7), (9, 31), (14, 14), (3, 66), (56, 56), (97, 40)])
@pytest.mark.parametrize(("channels", "filters"), [(1, 1), (3, 17), (16, 8), (40, 23)])
def test_is_as_exact_as_float32(size: tuple[int, int], channels: int, filters: int) -> None:
    x, weight, bias = drawn(2, channels, *size), drawn(filters, channels, 3, 3, seed=1), drawn(filters, seed=2)
    close(opened(weight, bias).run(None, {"x": x})[0], exact(x, weight, bias), channels)


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (2, 1, 0, 2), (0, 2, 1, 0), (2, 2, 2, 2)])
@pytest.mark.parametrize("size", [(3, 3), (8, 19), (33, 34)])
def test_pads(pads: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    x, weight, bias = drawn(3, 5, *size), drawn(9, 5, 3, 3, seed=1), drawn(9, seed=2)
    close(opened(weight, bias, pads).run(None, {"x": x})[0], exact(x, weight, bias, pads), 5)


@pytest.mark.parametrize("channels", [256, 512, 1100])
def test_many_channels(channels: int) -> None:
    """So many that fewer tiles are transformed at once."""
    x, weight, bias = drawn(1, channels, 9, 9), drawn(12, channels, 3, 3, seed=1), drawn(12, seed=2)
    close(opened(weight, bias).run(None, {"x": x})[0], exact(x, weight, bias), channels)


def test_errs_like_onnx_runtimes_own() -> None:
    """A little more, as tiles are sums and differences of numbers."""
    x, weight, bias = drawn(1, 128, 28, 28), drawn(128, 128, 3, 3, seed=1), drawn(128, seed=2)
    wanted = exact(x, weight, bias)
    close(opened(weight, bias).run(None, {"x": x})[0], wanted, 128)
    error = np.abs(opened(weight, bias).run(None, {"x": x})[0] - wanted)
    assert np.sqrt((error**2).mean() / (wanted**2).mean()) < 4e-7


@pytest.mark.parametrize("wild", [np.inf, -np.inf, np.nan, 3e38])
def test_numbers_that_are_not_finite_stay_where_they_belong(wild: float) -> None:
    """A tile's other outputs, and its neighbours, are what they would be."""
    x, weight, bias = drawn(1, 4, 12, 40), np.abs(drawn(9, 4, 3, 3, seed=1)), drawn(9, seed=2)
    x[0, 2, 5, 17] = wild
    with np.errstate(over="ignore"):
        found = F.conv2d(*(torch.from_numpy(array) for array in (x, weight, bias)), padding=1)
    np.testing.assert_allclose(opened(weight, bias).run(None, {"x": x})[0], found.numpy(), rtol=1e-5, atol=1e-5)


def test_nothing_at_all() -> None:
    assert opened(drawn(4, 3, 3, 3), drawn(4)).run(None, {"x": drawn(0, 3, 8, 8)})[0].shape == (0, 4, 8, 8)


def test_one_session_in_several_threads() -> None:
    weight, bias = drawn(24, 16, 3, 3, seed=1), drawn(24, seed=2)
    session, inputs = opened(weight, bias), [drawn(1, 16, 10 + 9 * i, 30, seed=i) for i in range(6)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: session.run(None, {"x": x})[0], inputs * 4))
    for x, y in zip(inputs * 4, found, strict=True):
        close(y, exact(x, weight, bias), 16)


def test_what_does_not_fit_is_refused() -> None:
    weight, bias = drawn(4, 3, 3, 3), drawn(4)
    with pytest.raises(REFUSED, match="constants of 3 by 3"):
        opened(weight, bias, given=True)
    with pytest.raises(REFUSED, match="constants of 3 by 3"):
        opened(drawn(4, 3, 5, 5), bias)
    with pytest.raises(REFUSED, match="constants of 3 by 3"):
        opened(weight, drawn(5))
    with pytest.raises(REFUSED, match="the filters' channels"):
        opened(weight, bias).run(None, {"x": drawn(1, 2, 8, 8)})
    with pytest.raises(REFUSED, match="smaller than the filters"):
        opened(weight, bias, (0, 0, 0, 0)).run(None, {"x": drawn(1, 3, 1, 8)})
