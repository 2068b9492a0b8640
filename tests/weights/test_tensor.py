"""Lazy tensors: what they give is what NumPy gives, whole or in pieces."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lamina.compiler.weights.tensor import (
    ArrayTensor,
    FileTensor,
    Tensor,
    cast,
    joined,
    mapped,
    pieces,
    renamed,
    reshaped,
    scaled,
    sliced,
    transposed,
)
from lamina.schema.diagnostics import SpecError

DATA = np.random.default_rng(0).standard_normal((6, 10, 7)).astype(np.float32)
Case = tuple[Callable[[Tensor], Tensor], np.ndarray]
CASES: dict[str, Case] = {
    "plain": (lambda t: t, DATA),
    "transposed": (lambda t: transposed(t, (2, 0, 1)), DATA.transpose(2, 0, 1)),
    "reshaped": (lambda t: reshaped(t, (15, -1)), DATA.reshape(15, -1)),
    "reshaped, a size kept": (lambda t: reshaped(t, (0, -1)), DATA.reshape(6, 70)),
    "mapped": (lambda t: mapped(t, "exp"), np.exp(DATA.astype(np.float64)).astype(np.float32)),
    "scaled": (lambda t: scaled(t, -0.3), (DATA.astype(np.float64) * -0.3).astype(np.float32)),
    "joined": (lambda t: joined([t, t, sliced(t, 0, 1, 2)], 0), np.concatenate([DATA, DATA, DATA[1:2]])),
    "joined inside": (lambda t: joined([sliced(t, 1, 3, 8), t], 1), np.concatenate([DATA[:, 3:8], DATA], axis=1)),
    "sliced": (lambda t: sliced(t, 1, 3, 8), DATA[:, 3:8]),
    "cast": (lambda t: cast(t, "float16"), DATA.astype(np.float16)),
    "widened": (lambda t: cast(t, "float64"), DATA.astype(np.float64)),
    "chain": (
        lambda t: cast(reshaped(transposed(sliced(t, 0, 1, 5), (1, 2, 0)), (70, 4)), "float16"),
        DATA[1:5].transpose(1, 2, 0).reshape(70, 4).astype(np.float16),
    ),
}


def in_memory(_: Path) -> Tensor:
    return ArrayTensor("w", "float32", DATA.shape, DATA)


def in_file(folder: Path) -> Tensor:
    (folder / "w").write_bytes(b"12345" + DATA.tobytes() + b"rest")
    return FileTensor("w", "float32", DATA.shape, folder / "w", 5)


@pytest.mark.parametrize("make", [in_memory, in_file])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("max_bytes", [1, 40, 300, 1 << 20])
def test_tensors_are_numpys(case: str, make: Callable[[Path], Tensor], max_bytes: int, tmp_path: Path) -> None:
    transform, expected = CASES[case]
    tensor = transform(make(tmp_path))
    assert (tensor.shape, tensor.dtype, tensor.nbytes) == (expected.shape, expected.dtype.name, expected.nbytes)
    np.testing.assert_array_equal(tensor.numpy(), expected, strict=True)
    chunks = list(tensor.chunks(max_bytes))
    assert all(c.flags.c_contiguous and c.ndim == 1 and c.nbytes <= max(max_bytes, c.itemsize) for c in chunks)
    np.testing.assert_array_equal(np.concatenate(chunks), expected.reshape(-1), strict=True)


def test_empty_and_scalar_tensors(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"")
    assert FileTensor("w", "float16", (0, 3), tmp_path / "w", 0).numpy().shape == (0, 3)
    assert list(pieces(np.zeros((0, 3)), 8)) == []
    assert [p.tolist() for p in ArrayTensor("w", "float32", (), np.float32(3).reshape(())).chunks()] == [[3.0]]


def test_bfloat16_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(bytes.fromhex("803f00c0"))
    assert FileTensor("w", "bfloat16", (2,), tmp_path / "w", 0).numpy().astype(np.float32).tolist() == [1.0, -2.0]


def test_wrong_axes_and_sizes_are_refused() -> None:
    tensor = in_memory(Path())
    with pytest.raises(ValueError, match=r"\[0, 0, 1\] is not a permutation"):
        transposed(tensor, (0, 0, 1))
    for shape in [(6, 71), (-1, -1), (-1, 11), (-2, 210), (0, 0, 0, 0), (0, 11, -1)]:
        with pytest.raises(ValueError, match="420 elements"):
            reshaped(tensor, shape)


def test_numbers_too_large_for_the_dtype_are_refused() -> None:
    tensor = ArrayTensor("w", "float32", (2,), np.array([1, 1e6], np.float32))
    with pytest.raises(SpecError, match="`w` has numbers too large for float16"):
        list(cast(tensor, "float16").chunks())
    infinite = ArrayTensor("w", "float32", (1,), np.array([np.inf], np.float32))
    assert np.isinf(cast(infinite, "float16").numpy()).all()


def test_numbers_without_a_logarithm_are_refused() -> None:
    tensor = ArrayTensor("w", "float32", (2,), np.array([0.5, 0], np.float32))
    with pytest.raises(SpecError, match="`w` has numbers whose log is not finite"):
        list(mapped(tensor, "log").chunks())
    with pytest.raises(SpecError, match=r"`w` has numbers whose product with 1e\+39 is not finite"):
        list(scaled(tensor, 1e39).chunks())
    with pytest.raises(ValueError, match="int64 has no log"):
        mapped(ArrayTensor("w", "int64", (1,), np.array([1])), "log")
    with pytest.raises(ValueError, match="int64 is not scaled"):
        scaled(ArrayTensor("w", "int64", (1,), np.array([1])), -1)


def test_renamed_keeps_the_rest() -> None:
    tensor = renamed(transposed(in_memory(Path()), (1, 0, 2)), "other")
    assert (tensor.name, tensor.shape) == ("other", (10, 6, 7))
    np.testing.assert_array_equal(tensor.numpy(), DATA.transpose(1, 0, 2))
