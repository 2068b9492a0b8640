"""The TensorRT backend where there is no GPU: what it says, and its bookkeeping over a driver that keeps its memory in RAM."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest

from lamina.runtime import BackendMissing, InputError, Session, cuda, trt
from lamina.runtime.manifest import Manifest, TensorRTTarget, read_manifest

TARGET = {"file": "engines/a.engine", "library": "tensorrt_rtx", "version": "1.7.1.116", "key": "k", "compute_capabilities": ["8.6", "8.9"]}
TENSORS = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": ["N", 3]}, {"name": "k", "dtype": "int64", "shape": ["N"]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": ["N", 3]}, {"name": "total", "dtype": "int64", "shape": [1]}],
}
no_gpu = pytest.mark.skipif(cuda.capability() is not None, reason="this machine has a GPU")


class Driver:
    """The functions of libcuda.so.1 that are called, over malloc and memmove. Records what is alive."""

    def __init__(self) -> None:
        self.alive: dict[int, Any] = {}
        self.most = 2**30

    def __getattr__(self, name: str) -> Any:
        if name in ("cuInit", "cuCtxSetCurrent", "cuStreamSynchronize"):
            return lambda *arguments: 0
        raise AttributeError(name)

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return 0

    def cuDeviceGetAttribute(self, value: Any, number: int, device: Any) -> int:
        value._obj.value = {75: 8, 76: 6}[number]
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:
        context._obj.value = 7
        return 0

    def cuStreamCreate(self, stream: Any, flags: int) -> int:
        stream._obj.value = 9
        return 0

    def cuMemAlloc_v2(self, address: Any, size: Any) -> int:
        if size.value > self.most:
            return 2  # CUDA_ERROR_OUT_OF_MEMORY
        memory = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(memory)
        self.alive[address._obj.value] = memory
        return 0

    def cuMemFree_v2(self, address: Any) -> int:
        del self.alive[address.value]
        return 0

    def cuMemcpyHtoDAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> int:
        assert stream.value == 9
        assert size.value <= len(self.alive[to.value])
        ctypes.memmove(to.value, source.value, size.value)
        return 0

    def cuMemcpyDtoHAsync_v2(self, to: Any, source: Any, size: Any, stream: Any) -> int:
        assert size.value <= len(self.alive[source.value])
        ctypes.memmove(to.value, source.value, size.value)
        return 0


class Context:
    """An execution context for y = 2 x, total = sum(k), with a profile of at most 4 rows."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.works = True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return shape[0] <= 4

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes["x"] if name == "y" else (1,)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def array(self, name: str, shape: tuple[int, ...], kind: Any) -> Any:
        return np.ctypeslib.as_array(ctypes.cast(self.addresses[name], ctypes.POINTER(kind)), shape)

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 9
        self.array("y", self.shapes["x"], ctypes.c_float)[...] = 2 * self.array("x", self.shapes["x"], ctypes.c_float)
        self.array("total", (1,), ctypes.c_int64)[...] = self.array("k", self.shapes["k"], ctypes.c_int64).sum()
        return self.works


def engine_bundle(folder: Path, **changes: Any) -> Path:
    files = {"engines/a.engine": b"an engine", "model.onnx": handmade.scale()}
    return handmade.write(folder, files, targets={"tensorrt": TARGET | changes, "onnx": {"file": "model.onnx", "opset": 21}})


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return read_manifest(handmade.write(tmp_path, **TENSORS))


def feeds(rows: int) -> dict[str, Any]:
    return {"x": np.arange(rows * 3, dtype=np.float32).reshape(rows, 3), "k": np.arange(rows)}


def test_shapes_grow_and_shrink_and_memory_is_given_back(manifest: Manifest) -> None:
    driver = Driver()
    runner = trt.Runner(Context(), cuda.Device(driver), manifest)
    results = [(rows, runner.run(feeds(rows))) for rows in (2, 4, 1)]
    for rows, outputs in results:  # read after the last run: no result may live in a buffer
        np.testing.assert_array_equal(outputs["y"], 2 * feeds(rows)["x"])
        np.testing.assert_array_equal(outputs["total"], [rows * (rows - 1) // 2])
    assert len(driver.alive) == 4
    runner.close()
    assert driver.alive == {}


def test_what_the_engine_cannot_run(manifest: Manifest) -> None:
    context = Context()
    runner = trt.Runner(context, cuda.Device(Driver()), manifest)
    with pytest.raises(InputError, match=r"the engine's profile does not hold `x` with shape \[5, 3\]"):
        runner.run(feeds(5))
    context.works = False
    with pytest.raises(InputError, match="inside the engine's profile"):
        runner.run(feeds(2))
    context.get_tensor_shape = lambda name: (-1,)  # type: ignore[method-assign]
    with pytest.raises(InputError, match="the size of `y` depends on the data"):
        runner.run(feeds(2))


def test_out_of_memory_leaves_the_runner_usable(manifest: Manifest) -> None:
    driver = Driver()
    runner = trt.Runner(Context(), cuda.Device(driver), manifest)
    driver.most = 24
    runner.run(feeds(2))
    with pytest.raises(BackendMissing, match="the NVIDIA driver answers cuMemAlloc_v2 with error 2"):
        runner.run(feeds(4))
    np.testing.assert_array_equal(runner.run(feeds(2))["y"], 2 * feeds(2)["x"])
    runner.close()
    assert driver.alive == {}


@no_gpu
def test_without_a_gpu_it_says_so_and_auto_goes_elsewhere(tmp_path: Path) -> None:
    folder = engine_bundle(tmp_path)
    with pytest.raises(BackendMissing, match=r"this machine has no NVIDIA GPU driver .* run with --backend onnxruntime"):
        Session(folder, "tensorrt")
    assert Session(folder).target == "onnx"


@pytest.mark.parametrize(("capabilities", "target"), [([], "tensorrt"), (["8.6"], "tensorrt"), (["8.9", "9.0"], "onnx")])
def test_auto_takes_an_engine_for_this_gpu(tmp_path: Path, capabilities: list[str], target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lamina.runtime import session

    monkeypatch.setattr(cuda, "_load", Driver)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    manifest = read_manifest(engine_bundle(tmp_path, compute_capabilities=capabilities))
    assert session._choose(manifest, "auto") == target


def test_an_engine_for_another_gpu_and_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_load", Driver)
    with pytest.raises(BackendMissing, match=r"built for compute capability 9\.0 and this GPU has 8\.6"):
        Session(engine_bundle(tmp_path / "a", compute_capabilities=["9.0"]), "tensorrt")
    with pytest.raises(BackendMissing, match=r"the engine needs tensorrt_rtx 0\.0\.1 exactly and .* is installed"):
        Session(engine_bundle(tmp_path / "b", version="0.0.1"), "tensorrt")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    target = TensorRTTarget.model_validate_json('{"library": "tensorrt", "version": "10", "engines": [{"file": "a", "key": "k"}]}')
    with pytest.raises(BackendMissing, match=r"tensorrt cannot be imported .* pip install lamina\[tensorrt\]"):
        trt._library(target)
