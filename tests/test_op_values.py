"""Where a definition could be right on ordinary numbers and wrong elsewhere: overflow, cancellation, signs, infinities, work counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import op_harness as bench
import pytest
import torch

import lamina
from lamina.compiler.op import Example, paths_for
from lamina.schema.dims import value_of

INF, NAN = float("inf"), float("nan")
TINY = [1e-30, 1e-12, 1e-7, -1e-7, 3e-4, 0.0, -0.5, 0.5]
HUGE = [-1e4, -200.0, -88.0, 0.0, 88.0, 200.0, 1e4]


def run(name: str, arguments: dict[str, Any], *arrays: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """The definition in ONNX Runtime, on these arrays."""
    inputs = [f"{a.dtype.name}[{', '.join(map(str, a.shape))}]" for a in arrays]
    case = bench.case(bench.op_class(name), Example(arguments, inputs))
    model = bench.lower(case)
    assert model is not None
    result: list[np.ndarray[Any, Any]] = bench.session(bench.proto(model, case.outputs)).run(
        None, {f"x{i}": a for i, a in enumerate(arrays)}
    )
    return result


@pytest.mark.parametrize("name", ["expm1", "log1p"])
def test_keeps_its_digits_near_zero(name: str) -> None:
    x = np.array(TINY, np.float32)
    (got,) = run(name, {}, x)
    np.testing.assert_allclose(got, getattr(np, name)(x.astype(np.float64)), rtol=1e-6)


def test_expm1_and_log1p_at_the_ends() -> None:
    with np.errstate(divide="ignore", over="ignore"):
        for name, values in {"expm1": [-INF, -200.0, 80.0, 200.0, INF], "log1p": [-1.0, 1e30, INF]}.items():
            x = np.array(values, np.float32)
            np.testing.assert_allclose(run(name, {}, x)[0], getattr(np, name)(x), rtol=1e-6)


@pytest.mark.parametrize("name", ["softplus", "log_sigmoid", "silu", "mish", "sigmoid", "softsign", "gelu", "elu", "celu", "selu"])
def test_does_not_overflow(name: str) -> None:
    x = np.array(HUGE, np.float32)
    want = bench.references()[name](torch.tensor(HUGE, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(run(name, {}, x)[0], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("row", [[1e3, 1e3], [-1e3, -1001.0], [-INF, -INF], [-INF, 0.0], [INF, 0.0]], ids=str)
def test_logsumexp_of_extremes(row: list[float]) -> None:
    x = np.array([row], np.float32)
    want = torch.logsumexp(torch.tensor([row], dtype=torch.float64), 1).numpy()
    np.testing.assert_allclose(run("logsumexp", {"dims": 1}, x)[0], want, rtol=1e-6)


def test_angles_on_the_axes_and_in_every_quadrant() -> None:
    y, x = np.array([0, 1, 0, -1, 1, 1, -1, -1, 0], np.float32), np.array([1, 0, -1, 0, 1, -1, -1, 1, 0], np.float32)
    np.testing.assert_allclose(run("atan2", {}, y, x)[0], np.arctan2(y, x), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
def test_division_and_remainder_have_pythons_signs(dtype: str) -> None:
    x, y = (a.ravel().astype(dtype) for a in np.meshgrid([-7, -6, -1, 0, 1, 6, 7], [-3, -2, 2, 3]))
    (quotient,), (rest,) = run("floor_divide", {}, x, y), run("mod", {}, x, y)
    assert quotient.tolist() == [int(a) // int(b) for a, b in zip(x, y, strict=True)]
    assert rest.tolist() == [int(a) % int(b) for a, b in zip(x, y, strict=True)]


def test_shifts_keep_the_sign_and_lose_high_bits() -> None:
    x, places = np.array([-9, -1, 1, 2**40], np.int64), np.array([2, 5, 62, 3], np.int64)
    assert run("shift_right", {}, x, places)[0].tolist() == [-3, -1, 0, 2**37]
    assert run("shift_left", {}, x, places)[0].tolist() == [-36, -32, 2**62, 2**43]
    assert run("shift_left", {}, np.array([200], np.uint8), np.array([1], np.uint8))[0].tolist() == [144]


def test_rounding_and_not_a_number() -> None:
    assert run("round", {}, np.array([-1.5, -0.5, 0.5, 1.5, 2.5], np.float32))[0].tolist() == [-2, 0, 0, 2, 2]
    assert run("isnan", {}, np.array([NAN, INF, 0.0], np.float32))[0].tolist() == [True, False, False]


def test_a_zero_vector_is_normalised_to_zero() -> None:
    assert not run("l2_normalize", {}, np.zeros((2, 3), np.float32))[0].any()


def test_one_hot_of_a_value_outside_is_zero() -> None:
    assert run("one_hot", {"classes": 3}, np.array([-1, 1, 3], np.int64))[0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("name", "arguments", "inputs", "macs"),
    [
        ("matmul", {}, ["float32[b, 3, t, 8]", "float32[8, 5]"], 2 * 3 * 5 * 8 * 5),
        ("matmul", {}, ["float32[8]", "float32[8]"], 8),
        ("einsum", {"equation": "bhid,bhjd->bhij"}, ["float32[b, 3, t, 8]", "float32[b, 3, 7, 8]"], 2 * 3 * 5 * 7 * 8),
        ("einsum", {"equation": "i,j->ij"}, ["float32[t]", "float32[8]"], 0),
        ("einsum", {"equation": "nct,cd,de->net"}, ["float32[b, 3, t]", "float32[3, 4]", "float32[4, 6]"], 2 * 5 * 3 * 4 + 2 * 5 * 4 * 6),
        ("einsum", {"equation": "bti,sj->bs"}, ["float32[b, t, 3]", "float32[9, 2]"], 0),
        ("add", {}, ["float32[b, 8]", "float32[b, 8]"], 0),
    ],
)
def test_multiply_adds(name: str, arguments: dict[str, Any], inputs: list[str], macs: int) -> None:
    case = bench.case(bench.op_class(name), Example(arguments, inputs))
    out = case.outputs[0] if len(case.outputs) == 1 else case.outputs
    assert value_of(case.op.macs(case.inputs, out), bench.POINTS[1]) == macs


DCT = {
    (2, "backward"): [30.0, -14.465047, 4.242641, -1.66205],
    (2, "ortho"): [7.5, -5.114166, 1.5, -0.587623],
    (2, "forward"): [3.75, -1.808131, 0.53033, -0.207756],
    (3, "backward"): [16.475307, -17.908193, 8.594485, -3.161599],
    (3, "ortho"): [5.971347, -6.185056, 3.185056, -0.971347],
    (3, "forward"): [2.059413, -2.238524, 1.074311, -0.3952],
}


@pytest.mark.parametrize(("type_", "norm"), DCT)
def test_cosine_transforms_are_those_of_scipy(type_: int, norm: str) -> None:
    (got,) = run("dct", {"type": type_, "norm": norm}, np.array([1, 2, 4, 8], np.float32))
    np.testing.assert_allclose(got, DCT[type_, norm], rtol=1e-5)


@pytest.mark.parametrize("size", ["509", "1000", "64 * t"])
def test_long_transforms_keep_their_digits(size: str) -> None:
    case = bench.case(bench.op_class("rfft"), Example({}, [f"float32[3, {size}]"]))
    model = bench.lower(case)
    assert model is not None
    env = {"b": 1, "h": 8, "w": 8, "t": 64}
    arrays = bench.feeds(case, model, env)
    got = bench.session(bench.proto(model, case.outputs)).run(None, arrays)
    for part, want in zip(got, bench.expected(case, arrays, env), strict=True):
        assert np.abs(part - want).max() < 1e-6 * np.abs(want).max()


@pytest.mark.parametrize("file", ["model.onnx", "model.ort.onnx"])
def test_rows_that_meet_in_a_segment_from_several_threads_are_not_lost(file: str, tmp_path: Path) -> None:
    """ONNX Runtime's ScatterND loses some in every other run of this size."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "lamina: 1\nmodel: sums\ninputs: {x: 'float32[n, 64]', index: 'int64[n]'}\ndims: {n: {min: 0, max: 50000}}\nbody:\n"
        "  - total = segment_sum(x, index, count=2000)\n  - largest = segment_max(x, index, count=2000)\n"
        "outputs: {total: 'float32[2000, 64]', largest: 'float32[2000, 64]'}\n"
    )
    folder = lamina.compile(lamina.load(spec), tmp_path / "bundle", targets=["onnx", "onnxruntime"])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 4
    opened = ort.InferenceSession(folder / file, options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for rows in (20000, 1, 0):
        x, index = rng.standard_normal((rows, 64)).astype(np.float32), rng.integers(0, 2000, rows)
        total, largest = np.zeros((2000, 64)), np.full((2000, 64), -INF)
        np.add.at(total, index, x.astype(np.float64))
        np.maximum.at(largest, index, x)
        for _ in range(20 if rows > 1 else 1):
            got = opened.run(["total", "largest"], {"x": x, "index": index})
            np.testing.assert_allclose(got[0], total, atol=1e-4)
            np.testing.assert_array_equal(got[1], np.where(np.isinf(largest), 0, largest))


@pytest.mark.parametrize(
    ("name", "arguments", "inputs"),
    [
        ("scatter", {"dim": 0, "reduce": "add"}, ["float16[5, 3]", "int64[4, 3]", "float16[4, 3]"]),
        ("scatter", {"dim": 1, "reduce": "mul"}, ["float16[5, 3]", "int32[5, 2]", "float16[5, 2]"]),
        ("segment_sum", {"count": 3}, ["float16[6, 2]", "int64[6]"]),
        ("segment_max", {"count": 3}, ["float16[6]", "int64[6]"]),
    ],
)
def test_half_precisions_are_combined(name: str, arguments: dict[str, Any], inputs: list[str]) -> None:
    """ONNX Runtime opens a ScatterElements that reduces float16, and then does not run it."""
    case = bench.case(bench.op_class(name), Example(arguments, inputs, values="index:3"))
    model = bench.lower(case, paths_for(type(case.op), "onnxruntime")[0])
    assert model is not None
    arrays = bench.feeds(case, model, {})
    got = bench.session(bench.proto(model, case.outputs)).run(None, arrays)
    bench.close(got, bench.expected(case, arrays, {}), 4e-3, name)


@pytest.mark.parametrize(
    ("name", "arguments", "shape", "result"),
    [
        ("pixel_unshuffle", {"factor": 2}, (1, 1, 0, 4), (1, 4, 0, 2)),
        ("reshape", {"shape": [0, 0, 2]}, (2, 0, 0), (0, 0, 2)),
        ("unfold", {"kernel": 2}, (0, 1, 5, 5), (0, 4, 16)),
    ],
)
def test_a_shape_may_hold_zeros(name: str, arguments: dict[str, Any], shape: tuple[int, ...], result: tuple[int, ...]) -> None:
    """In ONNX's Reshape a 0 keeps a size unless it is told otherwise, and -1 means nothing beside it."""
    assert run(name, arguments, np.zeros(shape, np.float32))[0].shape == result


def test_attention_of_float16_keeps_its_scores_in_float32() -> None:
    """Scores near 100 are 0.06 apart in float16: a weight would be off by several per cent."""
    x = (np.random.default_rng(0).uniform(-9, 9, (3, 2, 4, 16, 8))).astype(np.float16)
    case = bench.case(bench.op_class("attention"), Example({}, ["float16[2, 4, 16, 8]"] * 3))
    want = torch.nn.functional.scaled_dot_product_attention(*torch.from_numpy(x).double()).numpy()
    model = bench.lower(case, "operator")
    assert model is not None
    (got,) = bench.session(bench.proto(model, case.outputs)).run(None, {f"x{i}": a for i, a in enumerate(x)})
    bench.close([got], [want], 4e-3, "attention")


def test_atan2_on_the_axes() -> None:
    """Zeros have signs."""
    values = np.array([0.0, -0.0, 1.0, -1.0, INF, -INF], np.float32)
    y, x = (a.ravel() for a in np.meshgrid(values, values))
    finite = np.isfinite(y) | np.isfinite(x)
    (got,) = run("atan2", {}, y[finite], x[finite])
    np.testing.assert_allclose(got, np.arctan2(y, x)[finite], rtol=1e-6)
    zeros = got == 0
    assert (np.signbit(got) == np.signbit(np.arctan2(y, x)[finite]))[zeros].all()
