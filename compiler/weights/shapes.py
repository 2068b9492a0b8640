"""Weights without numbers: for models that are compiled only to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from lamina.compiler.graph import Parameter
from lamina.compiler.weights.tensor import Array, Tensor, fixed_shape


@final
@dataclass(frozen=True, slots=True)
class Shapes:
    """Gives every parameter its dtype and shape, and nothing else."""

    def get(self, parameter: Parameter) -> Tensor:
        """A tensor that cannot be read."""
        return ShapeTensor(parameter.name, parameter.dtype, fixed_shape(parameter))


@final
@dataclass(frozen=True, slots=True, eq=False)
class ShapeTensor(Tensor):
    """A tensor without numbers."""

    def numpy(self) -> Array:
        """Raises ValueError: there is nothing to read."""
        raise ValueError(f"the weight {self.name} has no numbers: the model was compiled without weights")
