"""The type of a tensor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lamina.schema.dims.size import Size


@dataclass(frozen=True, slots=True)
class TensorType:
    """dtype and symbolic shape of a tensor."""

    dtype: str
    shape: tuple[Size, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    def with_shape(self, shape: Iterable[Size]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"
