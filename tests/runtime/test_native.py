"""Our own kernels against numpy in float64: each set of instructions, sizes that fill no register, extreme numbers, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from lamina.runtime import native

Array = np.ndarray[Any, Any]
REFUSED = tuple(getattr(ort.capi.onnxruntime_pybind11_state, kind) for kind in ("InvalidArgument", "Fail", "RuntimeException"))


@pytest.fixture(params=["", "avx2"], autouse=True)
def instructions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """All that this processor has, and AVX2 alone."""
    monkeypatch.setenv("LAMINA_INSTRUCTIONS", request.param)
    return str(request.param)


def run(
    op: str, inputs: Mapping[str, Array | None], fixed: Mapping[str, Array] | None = None, outputs: int = 1, **attributes: Any
) -> list[Array]:
    """One operator in ONNX Runtime; an input that is None is left out, `fixed` ones are the file's."""
    given = {name: array for name, array in inputs.items() if array is not None}
    names = [name if array is not None else "" for name, array in {**inputs, **(fixed or {})}.items()]
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], domain="lamina.native", **attributes)
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in given.items()]
    made = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, None) for i in range(outputs)]
    graph = helper.make_graph([node], "g", infos, made, [numpy_helper.from_array(a, n) for n, a in (fixed or {}).items()])
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("lamina.native", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=11)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 2, 4
    options.register_custom_ops_library(str(native.library()))
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, given)  # type: ignore[no-any-return]


def test_no_more_than_was_allowed(instructions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.instructions() in (["AVX2"] if instructions else ["AVX2", "AVX-512 VNNI", "AMX"])
    monkeypatch.setenv("LAMINA_INSTRUCTIONS", "avx512")
    assert native.instructions() in ("AVX2", "AVX-512 VNNI")
    monkeypatch.setenv("LAMINA_INSTRUCTIONS", "none")
    assert native.instructions() == "none"


# --- BlockMatMul ---


def blocks(rows: int, columns: int, bits: int, minima: bool) -> tuple[dict[str, Array], Array]:
    """A matrix as it is stored, and its numbers."""
    rng = np.random.default_rng(rows + columns)
    codes = rng.integers(0, 1 << bits, (rows, columns // 32, 32))
    scales = rng.uniform(-0.02, 0.02, codes.shape[:2]).astype(np.float16)
    least = rng.standard_normal(codes.shape[:2]).astype(np.float16)
    packed = (codes[..., 0::2] | codes[..., 1::2] << 4 if bits == 4 else codes).astype(np.uint8)
    numbers = (codes - (0 if minima else 1 << bits - 1)) * scales.astype(np.float64)[..., None]
    if minima:
        numbers += least.astype(np.float64)[..., None]
    return {"codes": packed, "scales": scales, **({"minima": least} if minima else {})}, numbers.reshape(rows, columns)


def product(x: Array, stored: dict[str, Array], bits: int, exact: bool) -> Array:
    rows, columns = stored["codes"].shape[0], stored["codes"].shape[1] * 32
    return run("BlockMatMul", {"x": x}, stored, N=rows, K=columns, bits=bits, exact=int(exact))[0]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("minima", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 7, 32), (3, 50, 96), (6, 33, 288), (1, 64, 576), (9, 19, 544)])
def test_products_are_those_of_the_numbers(count: int, rows: int, columns: int, bits: int, minima: bool, exact: bool) -> None:
    """To half a step of 8 bits of x for each number, or of 16."""
    stored, numbers = blocks(rows, columns, bits, minima)
    x = np.random.default_rng(count).standard_normal((count, columns)).astype(np.float32)
    steps = np.repeat(np.abs(x.reshape(count, -1, 32)).max(2) / 127 / (256 if exact else 1), 32, axis=1)
    allowed = 0.51 * steps @ np.abs(numbers).T * (2 if exact else 1) + 1e-5 * np.abs(x) @ np.abs(numbers).T
    assert (np.abs(product(x, stored, bits, exact) - x.astype(np.float64) @ numbers.T) <= allowed).all()


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_what_8_bits_hold_is_not_rounded(bits: int, exact: bool) -> None:
    """The largest codes on both sides, which must not overflow; columns by themselves show that each stands in its place."""
    stored, numbers = blocks(40, 160, bits, True)
    stored["codes"][::3], stored["codes"][1::3] = 255, 0
    numbers[::3] = np.repeat(stored["scales"][::3] * np.float64((1 << bits) - 1) + stored["minima"][::3], 32, axis=1)
    numbers[1::3] = np.repeat(stored["minima"][1::3].astype(np.float64), 32, axis=1)
    x = np.concatenate([np.eye(160, dtype=np.float32), np.full((2, 160), 127, np.float32) * np.array([[1], [-1]], np.float32)])
    want = x.astype(np.float64) @ numbers.T
    np.testing.assert_allclose(product(x, stored, bits, exact), want, rtol=0, atol=2e-6 * np.abs(want).max())


def test_what_is_not_a_number_stays_in_its_row() -> None:
    stored, numbers = blocks(20, 96, 4, True)
    x = np.ones((6, 96), np.float32)
    x[1, 40], x[4, 3], x[5] = np.nan, np.inf, 0
    y = product(x, stored, 4, False)
    assert np.isnan(y[[1, 4]]).all()
    np.testing.assert_allclose(y[[0, 2, 3]], np.broadcast_to(numbers.sum(1), (3, 20)), rtol=1e-4, atol=1e-3)
    assert (y[5] == 0).all()


def test_no_rows_and_many_dimensions() -> None:
    stored, numbers = blocks(20, 96, 8, False)
    assert product(np.ones((0, 96), np.float32), stored, 8, False).shape == (0, 20)
    y = product(np.ones((2, 1, 3, 96), np.float32), stored, 8, True)
    np.testing.assert_allclose(y, np.broadcast_to(numbers.sum(1), (2, 1, 3, 20)), rtol=1e-4, atol=1e-3)


def test_sizes_that_do_not_fit_are_refused() -> None:
    """A file is not to be trusted: nothing is read beyond its tensors."""
    stored, _ = blocks(20, 96, 4, True)
    x, sizes = np.ones((1, 96), np.float32), {"N": 20, "K": 96, "bits": 4, "exact": 0}
    for short in stored:
        with pytest.raises(REFUSED, match="sizes are not those of N and K"):
            run("BlockMatMul", {"x": x}, {**stored, short: stored[short][:-1]}, **sizes)
    for wrong in ({"K": 95}, {"bits": 5}, {"N": 0}, {"K": -32}, {"N": 2**62 + 20}):
        with pytest.raises(REFUSED, match="K must be a multiple of 32"):
            run("BlockMatMul", {"x": x}, stored, **{**sizes, **wrong})
    with pytest.raises(REFUSED, match="sizes are not those of N and K"):
        product(np.ones((1, 64), np.float32), stored, 4, False)


# --- LinearAttention ---


def by_steps(q: Array, k: Array, v: Array, decay: Array | None, beta: Array | None, state: Array | None) -> tuple[Array, Array]:
    """The definition, in float64."""
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    s = np.zeros((*q.shape[:2], q.shape[3], v.shape[3])) if state is None else state.astype(np.float64)
    y = np.zeros(v.shape)
    for t in range(q.shape[2]):
        if decay is not None:
            s = s * np.exp(decay[:, :, t].astype(np.float64))[..., None]
        w = v[:, :, t]
        if beta is not None:
            w = beta[:, :, t, None] * (w - np.einsum("nhi,nhij->nhj", k[:, :, t], s))
        s = s + k[:, :, t, :, None] * w[:, :, None]
        y[:, :, t] = 0.5 * np.einsum("nhi,nhij->nhj", q[:, :, t], s)
    return y, s


def attend(joined: int = 0, **inputs: Array | None) -> list[Array]:
    return run("LinearAttention", inputs, outputs=2, scale=0.5, joined=joined)


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("beta", [False, True])
@pytest.mark.parametrize("gates", [0, 1, "dk"])
@pytest.mark.parametrize(("steps", "dk", "dv"), [(1, 8, 8), (6, 5, 3), (33, 64, 70), (0, 4, 4), (7, 128, 200)])
def test_linear_attention_is_its_definition(steps: int, dk: int, dv: int, gates: Any, beta: bool, state: bool) -> None:
    rng = np.random.default_rng(steps)
    q, k, v = (rng.standard_normal((2, 3, steps, width)).astype(np.float32) for width in (dk, dk, dv))
    k /= np.maximum(np.linalg.norm(k, axis=-1, keepdims=True), 1e-9)
    decay = -rng.gamma(1, 3, (2, 3, steps, dk if gates == "dk" else 1)).astype(np.float32) if gates else None
    betas = rng.uniform(0, 1, (2, 3, steps)).astype(np.float32) if beta else None
    start = rng.standard_normal((2, 3, dk, dv)).astype(np.float32) if state else None
    got = attend(q=q, k=k, v=v, decay=decay, beta=betas, state=start)
    for found, want in zip(got, by_steps(q, k, v, decay, betas, start), strict=True):
        np.testing.assert_allclose(found, want, rtol=0, atol=3e-6 * max(1, np.abs(want).max(initial=0)))


@pytest.mark.parametrize("joined", [*(1 << bit for bit in (0, 1, 2, 3, 4, 6)), 0b1011111])
def test_heads_may_come_after_the_steps(joined: int) -> None:
    """Of each input by itself, of y, and of all."""
    rng = np.random.default_rng(joined)
    q, k, v, decay = (-np.abs(rng.standard_normal((2, 3, 21, width))).astype(np.float32) for width in (8, 8, 20, 8))
    beta, state = rng.uniform(0, 1, (2, 3, 21)).astype(np.float32), rng.standard_normal((2, 3, 8, 20)).astype(np.float32)
    inputs = {"q": q, "k": k, "v": v, "decay": decay, "beta": beta}
    want, last = attend(**inputs, state=state)
    given = {name: np.ascontiguousarray(x.swapaxes(1, 2)) if joined >> i & 1 else x for i, (name, x) in enumerate(inputs.items())}
    y, same = attend(joined, **given, state=state)
    np.testing.assert_array_equal(y.swapaxes(1, 2) if joined >> 6 else y, want)
    np.testing.assert_array_equal(same, last)


@pytest.mark.parametrize("gates", [1, 16])
def test_long_sequences_of_extreme_gates(gates: int) -> None:
    """Steps that keep all, nearly all, nearly nothing and nothing, over and over, as the definition in float64 has them."""
    rng = np.random.default_rng(gates)
    q, k, v = (rng.standard_normal((1, 2, 3000, width)).astype(np.float32) for width in (16, 16, 40))
    decay = rng.choice(np.float32([0, -1e-7, -1e-3, -0.1, -20, -90, -1e5]), (1, 2, 3000, gates), p=[0.3, 0.1, 0.2, 0.36, 0.02, 0.01, 0.01])
    got = attend(q=q, k=k, v=v, decay=decay, beta=None, state=None)
    for found, want in zip(got, by_steps(q, k, v, decay, None, None), strict=True):
        np.testing.assert_allclose(found, want, rtol=0, atol=3e-6 * np.abs(want).max())


@pytest.mark.parametrize("decay", [0.0, -1e-30, -1.0, -80.0, -87.0, -88.0, -104.0, -1e4, -3e38, 1.0, 80.0])
def test_no_gate_is_too_steep(decay: float) -> None:
    """exp of any number that is not above 88, and of those below -87.3, which is nothing, 0."""
    ones = np.ones((1, 1, 1, 16), np.float32)
    _, last = attend(
        q=ones, k=ones, v=ones, decay=np.full(ones.shape, decay, np.float32), beta=None, state=np.ones((1, 1, 16, 16), np.float32)
    )
    np.testing.assert_allclose(last, 1 + np.exp(np.float64(decay)), rtol=1e-6)


def test_inputs_that_do_not_fit_together_are_refused() -> None:
    q = np.ones((1, 2, 5, 8), np.float32)
    fit = {"q": q, "k": q, "v": q, "decay": q, "beta": q[..., 0], "state": np.ones((1, 2, 8, 8), np.float32)}
    assert len(attend(**fit)) == 2
    for name in ("k", "v", "decay", "beta", "state"):
        with pytest.raises(REFUSED, match="sizes do not fit together"):
            attend(**{**fit, name: fit[name][:, :1]})
    with pytest.raises(REFUSED, match="must have rank 4"):
        attend(**{**fit, "q": q[0]})


# --- GroupedMatMul ---


def panels(weight: Array) -> Array:
    """A matrix as it is stored."""
    depth, width = weight.shape
    wide = np.pad(weight, ((0, 0), (0, -width % 32)))
    return np.ascontiguousarray(wide.reshape(depth, -1, 32).transpose(1, 0, 2))


def grouped(x: Array, loads: list[int], weights: list[Array]) -> Array:
    fixed = {f"w{i}": panels(w) for i, w in enumerate(weights)}
    return run("GroupedMatMul", {"x": x, "loads": np.array(loads)}, fixed, N=weights[0].shape[1])[0]


@pytest.mark.parametrize("loads", [[1, 0, 5], [12, 13, 7], [250, 3, 481], [0, 0, 0], [0, 0, 26]])
@pytest.mark.parametrize(("depth", "width"), [(1, 1), (8, 31), (19, 32), (512, 300), (1030, 65)])
def test_each_group_has_its_matrix(depth: int, width: int, loads: list[int]) -> None:
    rng = np.random.default_rng(depth)
    x = rng.standard_normal((sum(loads) + 2, depth)).astype(np.float32)
    weights = [rng.standard_normal((depth, width)).astype(np.float32) for _ in loads]
    groups = np.split(x[:-2].astype(np.float64), np.cumsum(loads)[:-1])
    expected = np.concatenate([rows @ w for rows, w in zip(groups, weights, strict=True)] + [np.zeros((2, width))])
    np.testing.assert_allclose(grouped(x, loads, weights), expected, atol=1e-5 * depth**0.5, rtol=0)


def test_what_is_not_a_number_stays_in_its_row_of_a_group() -> None:
    x = np.ones((20, 40), np.float32)
    x[3, 5], x[11, 0] = np.nan, np.inf
    y = grouped(x, [9, 11], [np.ones((40, 33), np.float32)] * 2)
    assert np.isnan(y[3]).all()
    assert np.isinf(y[11]).all()
    assert (np.delete(y, [3, 11], axis=0) == 40).all()


@pytest.mark.parametrize("loads", [[-1, 3], [3, 2], [2**62, 2**62], [4], [1, 1, 1]])
def test_loads_that_are_not_of_the_rows_are_refused(loads: list[int]) -> None:
    with pytest.raises(REFUSED, match="load"):
        grouped(np.ones((4, 8), np.float32), loads, [np.ones((8, 8), np.float32)] * 2)


def test_weights_of_another_size_are_refused() -> None:
    with pytest.raises(REFUSED, match="size"):
        grouped(np.ones((4, 8), np.float32), [2, 2], [np.ones((8, 8), np.float32), np.ones((9, 8), np.float32)])
