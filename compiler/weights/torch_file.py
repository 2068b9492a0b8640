"""PyTorch's own checkpoint files, through its restricted unpickler: tensors and plain containers, nothing that could run."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from lamina.compiler.missing import MissingDependency
from lamina.compiler.numeric import numpy_dtype
from lamina.compiler.weights.safetensors import damaged
from lamina.compiler.weights.tensor import Array, Tensor
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import DTYPES

if TYPE_CHECKING:
    import torch

CONTAINERS = ("state_dict", "model_state_dict", "model", "module")  # keys under which training scripts keep the weights


@final
@dataclass(frozen=True, slots=True, eq=False)
class TorchTensor(Tensor):
    """A tensor of a PyTorch file, mapped from it where the file's format allows."""

    source: torch.Tensor

    def numpy(self) -> Array:
        if self.dtype != "bfloat16":
            return _array(self.source)
        import torch

        return _array(self.source.view(torch.int16)).view(numpy_dtype("bfloat16"))


def read_torch(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pt`, `.pth` or `.bin` file, by key; what else it holds is left aside.

    Raises Fault when the file is damaged or would need to run code, MissingDependency without PyTorch.
    """
    state = _state_dict(_load(path))
    return {str(key): _tensor(path, str(key), value) for key, value in state.items() if _is_tensor(value)}


def _load(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingDependency(
            f"reading {path.name}", "PyTorch", "pip install 'lamina[torch]', or convert the file to safetensors"
        ) from error
    try:
        _check_magic(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    except Fault:
        raise
    except OSError as error:
        raise damaged(path, f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # the unpickler lets through whatever a hostile file provokes: KeyError, EOFError, RuntimeError, ...
        raise _refusal(path, str(error) or type(error).__name__) from error


def _refusal(path: Path, text: str) -> Fault:
    if "weights_only" in text or "Weights only" in text:
        what = "holds pickled Python objects, which could run any code when loaded; they are refused"
        return damaged(path, what, "save the state dict alone: torch.save(model.state_dict(), path), or better as safetensors")
    return damaged(path, f"is damaged, or not a PyTorch file: {text.splitlines()[0][:200]}")


def _check_magic(path: Path) -> None:
    """A PyTorch file is a zip archive or, in its old form, a pickle. Raises Fault for anything else."""
    with path.open("rb") as file:
        head = file.read(2)
    if head != b"PK" and head[:1] != b"\x80":
        raise damaged(path, "is damaged, or not a PyTorch file: it is neither a zip archive nor a pickle")


def _state_dict(loaded: Any) -> Mapping[Any, Any]:
    """The mapping that holds tensors: the file's top level, or what a training script put it under."""
    if not isinstance(loaded, Mapping):
        return {}
    if not any(map(_is_tensor, loaded.values())):
        for name in CONTAINERS:
            if isinstance(inner := loaded.get(name), Mapping):
                return inner
    return loaded


def _tensor(path: Path, key: str, value: torch.Tensor) -> Tensor:
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in DTYPES or str(value.layout) != "torch.strided" or value.device.type != "cpu":
        kind = dtype if str(value.layout) == "torch.strided" else f"a {value.layout} tensor"
        raise damaged(path, f"holds `{key}` as {kind}, which is not supported", "save it as a dense tensor of float32, float16 or bfloat16")
    return TorchTensor(key, dtype, tuple(value.shape), value.detach())


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _array(tensor: torch.Tensor) -> Array:
    array: Array = tensor.numpy()
    return array
