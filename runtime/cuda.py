"""The little of CUDA's driver API that running an engine needs, through the driver's own library: no package to install."""

from __future__ import annotations

import ctypes
import sys
from typing import Any, final

from lamina.runtime.dtypes import Array
from lamina.runtime.errors import BackendMissing

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


@final
class Device:
    """The first GPU, with one stream. BackendMissing without a driver or a GPU."""

    def __init__(self, library: Any = None) -> None:
        self._cuda = library or _load()
        self._call("cuInit", 0)
        device, context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self.capability = ".".join(str(self._attribute(number, device)) for number in (_MAJOR, _MINOR))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._context = context
        self.use()
        self._call("cuStreamCreate", ctypes.byref(stream), 0)
        self._stream = stream

    def use(self) -> None:
        """Make the GPU current in the calling thread."""
        self._call("cuCtxSetCurrent", self._context)

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return self._stream.value or 0

    def allocate(self, size: int) -> int:
        """The address of `size` new bytes on the GPU."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(1, size)))
        return address.value

    def free(self, address: int) -> None:
        """Give back what `allocate` gave."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, address: int, array: Array) -> None:
        """Queue a copy of a contiguous array to the GPU. It must live until `wait`."""
        self._call(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_uint64(address),
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_size_t(array.nbytes),
            self._stream,
        )

    def download(self, address: int, array: Array) -> None:
        """Queue a copy from the GPU into a contiguous array. It is whole after `wait`."""
        self._call(
            "cuMemcpyDtoHAsync_v2",
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_uint64(address),
            ctypes.c_size_t(array.nbytes),
            self._stream,
        )

    def wait(self) -> None:
        """Until all that was queued is done."""
        self._call("cuStreamSynchronize", self._stream)

    def _attribute(self, number: int, device: ctypes.c_int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), number, device)
        return value.value

    def _call(self, function: str, *arguments: Any) -> None:
        if status := getattr(self._cuda, function)(*arguments):
            raise BackendMissing(f"the NVIDIA driver answers {function} with error {status}: no usable GPU, or not enough of its memory")


def capability() -> str | None:
    """The first GPU's compute capability ("8.6"), or None without one."""
    try:
        return Device().capability
    except BackendMissing:
        return None


def _load() -> Any:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError:
        raise BackendMissing(f"this machine has no NVIDIA GPU driver ({_LIBRARY} is not there); run with --backend onnxruntime") from None
