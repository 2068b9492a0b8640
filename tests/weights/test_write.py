"""The external data file: every tensor at its place, aligned, the hash that of the file."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from lamina.compiler.weights import write
from lamina.compiler.weights.tensor import ArrayTensor, Tensor, transposed
from lamina.compiler.weights.write import write_external


def tensor(name: str, array: np.ndarray) -> Tensor:
    return ArrayTensor(name, array.dtype.name, array.shape, array)


def mixed() -> list[Tensor]:
    rng = np.random.default_rng(0)
    big = tensor("big", rng.standard_normal((700, 500)).astype(np.float32))
    small = [tensor(f"s{i}", rng.integers(0, 9, i).astype(np.int8)) for i in range(700)]
    return [*small, big, tensor("flag", np.array(True)), transposed(big, (1, 0)), tensor("none", np.zeros((0, 4), np.float16))]


def test_tensors_stand_at_their_places(tmp_path: Path) -> None:
    tensors = mixed()
    external = write_external(tensors, tmp_path / "weights.bin")
    data = (tmp_path / "weights.bin").read_bytes()
    assert external.nbytes == len(data)
    assert external.sha256 == hashlib.sha256(data).hexdigest()
    for t, (offset, length) in zip(tensors, external.places, strict=True):
        assert data[offset : offset + length] == t.numpy().tobytes()
        assert offset % (4096 if t.nbytes > 1 << 20 else 64) == 0


def test_onnx_reads_it(tmp_path: Path) -> None:
    import onnx
    from onnx.external_data_helper import load_external_data_for_tensor

    tensors = [t for t in mixed() if t.name in ("s5", "big")]
    external = write_external(tensors, tmp_path / "weights.bin")
    for t, (offset, length) in zip(tensors, external.places, strict=True):
        proto = onnx.TensorProto(
            dims=t.shape, data_type=onnx.helper.np_dtype_to_tensor_dtype(t.numpy().dtype), data_location=onnx.TensorProto.EXTERNAL
        )
        for key, value in {"location": "weights.bin", "offset": offset, "length": length}.items():
            proto.external_data.add(key=key, value=str(value))
        load_external_data_for_tensor(proto, str(tmp_path))
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(proto), t.numpy())


def test_nothing_to_write(tmp_path: Path) -> None:
    external = write_external([], tmp_path / "w")
    assert (external.places, external.nbytes, external.sha256) == ((), 0, hashlib.sha256(b"").hexdigest())


def test_short_writes_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, real = write_external(mixed(), tmp_path / "a"), os.write
    monkeypatch.setattr(os, "writev", lambda fd, batch: real(fd, b"".join(batch)[:1000]))
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:77_777]))
    assert write_external(mixed(), tmp_path / "b") == whole
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_full_disk_is_an_oserror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(fd: int, batch: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write.os, "writev", full)
    with pytest.raises(OSError, match="No space left"):
        write_external(mixed(), tmp_path / "w")


def test_memory_stays_small_when_pieces_are_made_on_the_fly(tmp_path: Path) -> None:
    import tracemalloc

    from lamina.compiler.graph import Parameter
    from lamina.compiler.weights.seeded import seeded
    from lamina.schema.dims import TensorType

    tensors = [seeded(Parameter(f"w{i}", TensorType("float16", (4096, 4096)), init="normal(0.02)"), 0) for i in range(4)]
    write_external(tensors[:1], tmp_path / "warm")
    tracemalloc.start()
    write_external(tensors, tmp_path / "w")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 << 20  # 128 MiB are written
