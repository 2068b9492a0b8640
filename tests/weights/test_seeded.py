"""Seeded weights: the same bits for ever, in any chunks, with the moments of the distribution they are named after."""

import hashlib
import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from lamina.compiler.graph import Parameter
from lamina.compiler.numeric import numpy_dtype
from lamina.compiler.weights.seeded import Init, Seeded, quantiles, seeded, standard_normal, stream_key
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import TensorType


def parameter(init: str, shape: tuple[int, ...] = (1_000_000,), dtype: str = "float32", name: str = "blocks.0.fc.weight") -> Parameter:
    return Parameter(name, TensorType(dtype, shape), init=init)


def philox(key: int, counter: int) -> list[int]:
    """Philox4x64-10 of Salmon et al. 2011, written from the paper: four 64-bit words."""
    low = 2**64 - 1
    k, c = [key & low, key >> 64], [counter & low, counter >> 64, 0, 0]
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(b >> 64) ^ c[1] ^ k[0], b & low, (a >> 64) ^ c[3] ^ k[1], a & low]
        k = [(k[0] + 0x9E3779B97F4A7C15) & low, (k[1] + 0xBB67AE8584CAA73B) & low]
    return c


@pytest.mark.parametrize("init", ["uniform(0.5)", "normal(0.02)"])
def test_values_are_the_generators_bits_looked_up(init: str) -> None:
    words = [word for counter in range(1, 40) for word in philox(stream_key(7, "a.b"), counter)]
    bits = [word >> shift & 0xFFFF for word in words for shift in (0, 16, 32, 48)]
    expected = quantiles(Init.parse(init), "float32")[bits]
    np.testing.assert_array_equal(seeded(parameter(init, (len(bits),), name="a.b"), 7).numpy(), expected)


@pytest.mark.parametrize(("init", "dtype", "digest"), [
    ("uniform(0.0625)", "float32", "4581b89976c3b48f"),
    ("normal(0.02)", "float32", "049d1236847a1a63"),
    ("trunc_normal(1.5)", "float32", "a81794649b29846b"),
    ("normal(0.02)", "float16", "777d58ffb4311745"),
    ("normal(0.02)", "bfloat16", "7d30e55d3072881d"),
    ("uniform(1e-3)", "float64", "64670a95b89fb62c"),
])  # fmt: skip
def test_golden_digests(init: str, dtype: str, digest: str) -> None:
    values = seeded(parameter(init, (333, 77), dtype), 42).numpy()
    assert hashlib.sha256(values.tobytes()).hexdigest()[:16] == digest


def test_the_table_of_the_normal_is_pinned() -> None:
    assert (
        hashlib.sha256(standard_normal().astype("<f4").tobytes()).hexdigest()
        == "1cfbba1e07e34386a57626f82aeb43e6ed54ba70a3ea6b7d964dc66a841074a8"
    )


def test_no_quantile_is_near_a_rounding_boundary() -> None:
    exact = np.array([NormalDist().inv_cdf((i + 0.5) / 65536) for i in range(65536)])
    rounded = exact.astype(np.float32)
    for side in (np.float32(-np.inf), np.float32(np.inf)):
        middle = (rounded.astype(np.float64) + np.nextafter(rounded, side).astype(np.float64)) / 2
        assert np.min(np.abs(exact - middle) / np.spacing(np.abs(exact))) > 64
    np.testing.assert_array_equal(standard_normal(), rounded)


def test_quantiles_agree_with_torch() -> None:
    expected = torch.special.ndtri((torch.arange(65536, dtype=torch.float64) + 0.5) / 65536)
    np.testing.assert_allclose(quantiles(Init("normal", 3.0), "float64"), 3 * expected.numpy(), rtol=2e-7)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    ("size", "max_bytes"),
    [
        (0, 1),
        (1, 1),
        (15, 1),
        (50, 6),
        (1000, 70),
        (65_536, 1000),
        (65_537, 1 << 17),
        (200_003, 1 << 17),
        (200_003, 99_999),
        (200_003, 1 << 20),
    ],
)
def test_any_chunking_gives_the_same_values(dtype: str, size: int, max_bytes: int) -> None:
    tensor = seeded(parameter("normal(1)", (size,), dtype), 3)
    chunks = [np.empty(0, dtype), *tensor.chunks(max_bytes)]
    assert all(chunk.nbytes <= max(max_bytes, chunk.itemsize) for chunk in chunks)
    np.testing.assert_array_equal(np.concatenate(chunks), tensor.numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes_are_the_float32_weights_converted(dtype: str) -> None:
    single = seeded(parameter("normal(0.02)"), 0).numpy()
    np.testing.assert_array_equal(seeded(parameter("normal(0.02)", dtype=dtype), 0).numpy(), single.astype(numpy_dtype(dtype)))


def test_seed_and_path_choose_the_values_and_shape_does_not() -> None:
    base = seeded(parameter("uniform(1)", (100,)), 0).numpy()
    np.testing.assert_array_equal(seeded(parameter("uniform(1)", (20, 5)), 0).numpy().reshape(-1), base)
    assert abs(np.corrcoef(base, seeded(parameter("uniform(1)", (100,)), 1).numpy())[0, 1]) < 0.4
    assert abs(np.corrcoef(base, seeded(parameter("uniform(1)", (100,), name="other"), 0).numpy())[0, 1]) < 0.4


def moments(values: np.ndarray) -> tuple[float, float, float]:
    centred = values.astype(np.float64) - values.mean(dtype=np.float64)
    variance = (centred**2).mean()
    return float(values.mean(dtype=np.float64)), math.sqrt(variance), float((centred**4).mean() / variance**2)


def test_moments_of_the_normal() -> None:
    mean, std, kurtosis = moments(seeded(parameter("normal(0.02)", (4_000_000,)), 0).numpy())
    assert abs(mean) < 5 * 0.02 / 2000
    assert abs(std / 0.02 - 1) < 5 / math.sqrt(8e6)
    assert abs(kurtosis - 3) < 5 * math.sqrt(24 / 4e6)


def test_moments_of_the_uniform() -> None:
    mean, std, kurtosis = moments(seeded(parameter("uniform(0.3)", (4_000_000,)), 0).numpy())
    assert abs(mean) < 5 * 0.3 / math.sqrt(3) / 2000
    assert std == pytest.approx(0.3 / math.sqrt(3), rel=2e-3)
    assert kurtosis == pytest.approx(1.8, abs=5e-3)


@pytest.mark.parametrize("std", [0.02, 1.0, 3.0])
def test_trunc_normal_is_pytorchs(std: float) -> None:
    expected = torch.nn.init.trunc_normal_(torch.empty(1_000_000), std=std, generator=torch.Generator().manual_seed(0)).numpy()
    values = seeded(parameter(f"trunc_normal({std})"), 0).numpy()
    assert np.abs(values).max() <= 2.0
    assert moments(values)[1] == pytest.approx(moments(expected)[1], rel=4e-3)
    assert moments(values)[2] == pytest.approx(moments(expected)[2], rel=1e-2)


def test_neighbours_are_uncorrelated() -> None:
    values = seeded(parameter("normal(1)"), 5).numpy()
    for lag in (1, 4, 16, 65536):
        assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 5 / 1000


@pytest.mark.parametrize(
    ("init", "dtype", "value"),
    [("zeros", "float16", 0), ("ones", "int64", 1), ("constant(1e-5)", "float64", 1e-5), ("constant(-3)", "bfloat16", -3)],
)
def test_constants(init: str, dtype: str, value: float) -> None:
    tensor = seeded(parameter(init, (7, 3), dtype), 0)
    assert tensor.numpy().shape == (7, 3)
    assert tensor.numpy().dtype == numpy_dtype(dtype)
    assert np.all(tensor.numpy() == value)
    assert [chunk.size for chunk in tensor.chunks(5 * numpy_dtype(dtype).itemsize)] == [5, 5, 5, 5, 1]
    assert all(np.all(chunk == value) for chunk in tensor.chunks(16))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "normal",
        "normal()",
        "normal(a)",
        "normal(1, 2)",
        "zeros()",
        "Normal(1)",
        "normal(nan)",
        "normal(1e999)",
        "uniform(-1)",
        "kaiming(1)",
        "normal(1) ",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(Fault, match=r"initialiser|finite") as caught:
        seeded(parameter(text), 0)
    assert text in caught.value.message


def test_random_integers_are_refused() -> None:
    with pytest.raises(Fault, match=r"`table` is int64, which cannot be drawn from normal\(1\)"):
        Seeded(0).get(parameter("normal(1)", (4,), "int64", "table"))
