"""The network that PyTorch's peers run, with the same weights in every process, and those weights as a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import lamina
from benchmarks.suite.model import Model, Network

Array = np.ndarray[Any, Any]


class Theirs(nn.Module):
    """Somebody else's network, called with our inputs."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = network.build()
        self._call, self._inputs = network.call, network.inputs
        for parameter in self.inner.parameters():
            if parameter.ndim == 1:
                nn.init.uniform_(parameter, 0.5, 1.0)  # that no layer scale of zero hides a block

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._call(self.inner, *inputs[: self._inputs])

    def checkpoint(self, folder: Path) -> None:
        """Its weights in `folder`, as the library that it comes from writes them."""
        from safetensors.torch import save_file

        if hasattr(self.inner, "save_pretrained"):
            self.inner.save_pretrained(folder)
        else:
            save_file({k: v.contiguous() for k, v in self.inner.state_dict().items()}, folder / "model.safetensors")


class Ours(nn.Module):
    """Our own module."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.inner = lamina.to_torch(model.load())

    def forward(self, *inputs: Tensor) -> Tensor:
        found = self.inner(*inputs)
        first: Tensor = next(iter(found.values())) if isinstance(found, Mapping) else found
        return first


def network(model: Model) -> Theirs | Ours:
    """In eval mode."""
    made = Ours(model) if model.network is None else Theirs(model.network)
    return made.eval()


def given(model: Model, inputs: Mapping[str, Array]) -> tuple[Tensor, ...]:
    """The inputs that it is called with."""
    count = len(inputs) if model.network is None else model.network.inputs
    return tuple(torch.from_numpy(array) for array in list(inputs.values())[:count])
