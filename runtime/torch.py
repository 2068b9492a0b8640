"""PyTorch, running a `torch.export` archive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np

from lamina.runtime.backend import Backend, Options
from lamina.runtime.carrier import ArrayCarrier, Carrier
from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import BackendMissing, BundleError, InputError
from lamina.runtime.manifest import Manifest


@final
class TorchBackend(Backend):
    """An exported program on the CPU, called with the inputs by position in the manifest's order."""

    def __init__(self, path: Path, manifest: Manifest, options: Options) -> None:
        torch = _library()
        from lamina.runtime.pt2 import load_module

        self._manifest = manifest
        self._torch, self._outputs = torch, [tensor.name for tensor in manifest.outputs]
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self._module = load_module(path)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        torch = self._torch
        with torch.inference_mode():
            try:
                values = self._module(*(_tensor(torch, array) for array in feeds.values()))
            except (RuntimeError, IndexError) as error:
                raise InputError(f"PyTorch cannot run these inputs: {error}") from error
        listed = [values] if isinstance(values, torch.Tensor) else list(values.values() if isinstance(values, dict) else values)
        if len(listed) != len(self._outputs):
            raise BundleError(
                f"the program gives {len(listed)} outputs where the manifest declares {self._outputs}; compile the spec again"
            )
        return {name: _array(torch, value) for name, value in zip(self._outputs, listed, strict=True)}

    def carrier(self, beside: Mapping[str, Array]) -> Carrier:
        return ArrayCarrier(self.run, self._manifest, beside)

    def close(self) -> None:
        del self._module


def _library() -> Any:
    try:
        import torch
    except ImportError as error:
        raise BackendMissing(f"torch cannot be imported ({error}); pip install lamina[torch], or run with --backend onnxruntime") from error
    return torch


def _tensor(torch: Any, array: Array) -> Any:
    if not array.flags.writeable:
        array = array.copy()  # torch has no read-only tensors
    if array.dtype == numpy_dtype("bfloat16"):
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _array(torch: Any, tensor: Any) -> Array:
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(numpy_dtype("bfloat16"))  # type: ignore[no-any-return]
    return tensor.numpy()  # type: ignore[no-any-return]
