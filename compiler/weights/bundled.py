"""Weights read back from a bundle's ONNX file, by the names of its initializers."""

from __future__ import annotations

from pathlib import Path

from lamina.compiler.graph import Derived, Graph, Parameter, Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.weights.tensor import FileTensor, Tensor
from lamina.schema.dims import TensorType

_NAMES = {number: name for name, number in ONNX_DTYPE.items()}


class Bundled:
    """The external initializers of one file. Raises KeyError from `get` for a weight that was folded away."""

    def __init__(self, file: Path) -> None:
        import onnx

        proto = onnx.load(file, load_external_data=False)
        self.tensors: dict[str, Tensor] = {}
        for item in proto.graph.initializer:
            place = {e.key: e.value for e in item.external_data}
            if place:
                data = file.parent / place["location"]
                self.tensors[item.name] = FileTensor(item.name, _NAMES[item.data_type], tuple(item.dims), data, int(place["offset"]))

    def get(self, parameter: Parameter) -> Tensor:
        """The tensor under the parameter's name."""
        return self.tensors[parameter.name]


def with_bundled_leaves(graph: Graph, bundled: Bundled) -> Graph:
    """The graph with each derived tensor replaced by the stored one, as a parameter of its name.

    Raises KeyError when one is not stored: the bundle holds a fused form of it only.
    """
    replaced: dict[int, Value] = {}
    for value in graph.initializers():
        if isinstance(value, Derived):
            tensor = bundled.tensors[value.name]
            replaced[id(value)] = Parameter(value.name, TensorType(tensor.dtype, tensor.shape))
        elif isinstance(value, Parameter) and value.name not in bundled.tensors:
            raise KeyError(value.name)
    return graph.mapped(lambda v: replaced.get(id(v), v))
