"""What the Open Inference Protocol says of a server and of a model."""

from __future__ import annotations

from typing import Any

from lamina import __version__
from lamina.runtime.manifest import Tensor
from lamina.runtime.serve.datatypes import DATATYPES
from lamina.runtime.serve.repository import Repository
from lamina.runtime.serve.served import Served

SERVER: dict[str, Any] = {"name": "lamina", "version": __version__, "extensions": ["binary_tensor_data"]}


def model_described(served: Served, repository: Repository) -> dict[str, Any]:
    """Its versions, inputs and outputs; -1 is a size that may vary."""
    fed = [spec for spec in served.manifest.inputs if spec.name not in served.manifest.supplied]
    return {
        "name": served.name,
        "versions": [*repository.models[served.name]],
        "platform": f"lamina_{served.session.target}",
        "inputs": [_tensor(spec) for spec in fed],
        "outputs": [_tensor(spec) for spec in served.manifest.outputs],
    }


def _tensor(spec: Tensor) -> dict[str, Any]:
    return {"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": [size if isinstance(size, int) else -1 for size in spec.shape]}
