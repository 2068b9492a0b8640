"""TensorRT and TensorRT-RTX, which have one API."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from lamina.runtime import cuda
from lamina.runtime.backend import Backend
from lamina.runtime.carrier import ArrayCarrier, Carrier
from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import BackendMissing, BundleError, InputError
from lamina.runtime.manifest import Engine, Manifest, TensorRTTarget


@final
class TensorRTBackend(Backend):
    """An engine on the first GPU, with buffers that grow to the largest shapes seen. One call runs at a time."""

    def __init__(self, path: Path, manifest: Manifest, target: TensorRTTarget) -> None:
        self._manifest, self._device = manifest, cuda.Device()
        trt = _library(target)
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))  # lives as long as its engine
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise BundleError(f"{target.library} {trt.__version__} refuses {path} on compute capability {self._device.capability}")
        self._runner = Runner(engine.create_execution_context(), self._device, manifest)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self._runner.run(feeds)

    def carrier(self, beside: Mapping[str, Array]) -> Carrier:
        return ArrayCarrier(self.run, self._manifest, beside)

    def close(self) -> None:
        self._runner.close()
        del self._runner, self._runtime


@final
class Runner:
    """Moves arrays to an execution context's buffers, runs it, and moves the outputs back."""

    def __init__(self, context: Any, device: cuda.Device, manifest: Manifest) -> None:
        self._context, self._device, self._outputs = context, device, manifest.outputs
        self._buffers: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """As `Backend.run`."""
        with self._lock:
            self._device.use()
            try:
                return self._queue(feeds)
            finally:
                self._device.wait()  # nothing queued may outlive the arrays

    def _queue(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        for name, array in feeds.items():
            self._feed(name, array)
        outputs = {tensor.name: self._receiver(tensor.name, tensor.dtype) for tensor in self._outputs}
        if not self._context.execute_async_v3(self._device.stream):
            raise InputError("TensorRT cannot run these inputs: are their sizes inside the engine's profile?")
        for name, array in outputs.items():
            self._device.download(self._buffers[name][0], array)
        return outputs

    def _feed(self, name: str, array: Array) -> None:
        if not self._context.set_input_shape(name, array.shape):
            raise InputError(f"the engine's profile does not hold `{name}` with shape {list(array.shape)}; compile with wider dims")
        self._device.upload(self._bind(name, array.nbytes), array)

    def _receiver(self, name: str, dtype: str) -> Array:
        shape = tuple(self._context.get_tensor_shape(name))
        if any(size < 0 for size in shape):
            raise InputError(f"the size of `{name}` depends on the data, which the tensorrt backend cannot run; use --backend onnxruntime")
        array = np.empty(shape, numpy_dtype(dtype))
        self._bind(name, array.nbytes)
        return array

    def _bind(self, name: str, size: int) -> int:
        address, capacity = self._buffers.get(name, (0, -1))
        if capacity < size:
            if capacity >= 0:
                self._device.free(address)
                del self._buffers[name]
            address = self._device.allocate(size)
            self._buffers[name] = (address, size)
        self._context.set_tensor_address(name, address)
        return address

    def close(self) -> None:
        """Free the buffers."""
        self._device.use()
        for address, _ in self._buffers.values():
            self._device.free(address)
        self._buffers.clear()


def usable(target: TensorRTTarget) -> bool:
    """Whether this machine has the engines' library and a GPU that one of them was built for."""
    found = importlib.util.find_spec(target.library) is not None and cuda.capability()
    return bool(found) and fitting(target, str(found)) is not None


def engine_here(target: TensorRTTarget) -> Engine:
    """The engine for this machine's GPU. BackendMissing says why there is none."""
    capability = cuda.Device().capability
    found = fitting(target, capability)
    if found is None:
        built = ", ".join(c for engine in target.engines for c in engine.compute_capabilities)
        wanted = f"compile the spec with --sm {capability.replace('.', '')}, or without"
        raise BackendMissing(f"the bundle's engines were built for compute capability {built} and this GPU has {capability}; {wanted}")
    return found


def fitting(target: TensorRTTarget, capability: str) -> Engine | None:
    """The engine that was built for GPUs of that compute capability ("8.6"), else the portable one, if there is one."""
    own = (engine for engine in target.engines if capability in engine.compute_capabilities)
    return next(own, None) or next((engine for engine in target.engines if not engine.compute_capabilities), None)


def _library(target: TensorRTTarget) -> Any:
    try:
        trt = importlib.import_module(target.library)
    except ImportError as error:
        raise BackendMissing(f"{target.library} cannot be imported ({error}); pip install lamina[tensorrt]") from error
    if trt.__version__ != target.version:
        wanted = f"the engine needs {target.library} {target.version} exactly"
        raise BackendMissing(f"{wanted} and {trt.__version__} is installed; install that version, or compile the spec again")
    return trt
