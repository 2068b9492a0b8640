from __future__ import annotations

import numpy as np

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError
from lamina.compiler.windows import Counts, need_images, spread
from lamina.schema.dims import Dim, Size, TensorType


class AdaptiveAvgPool(Op):
    """The mean over `out` nearly equal parts of each spatial dim; part i is floor(i * size / out) to ceil((i + 1) * size / out).

    x: float [N, C, *spatial]. y: [N, C, *out]. A dynamic size must be a multiple of `out`. Source: torch.nn.AdaptiveAvgPool2d.
    """

    name = "adaptive_avg_pool"
    out: Counts
    examples = (
        Example({"out": 1}, ["float32[b, 3, h, w]"]),
        Example({"out": [4, 2]}, ["float32[b, 3, h, w]"]),
        Example({"out": [1, 3]}, ["float32[b, 3, t, 7]"]),
        Example({"out": 4}, ["float32[b, 3, 8, 12]"]),
        Example({"out": 5}, ["float32[b, 3, 12]"]),
    )

    def infer(self, x: TensorType) -> TensorType:
        need_images(x)
        counts = spread(self.out, x.rank - 2, "out")
        for size, count in zip(x.shape[2:], counts, strict=True):
            if isinstance(size, Dim) and size % count != 0:
                raise OpError(
                    f"`out` is {count}, but the size {size} of {x} is not known to be a multiple of it",
                    f"declare multiple_of: {count} in `dims`, or resize first, as in interpolate(x, size=[{count}])",
                )
        return x.with_shape((*x.shape[:2], *counts))

    def define(self, g: Builder, x: Value) -> Value:
        counts = spread(self.out, x.rank - 2, "out")
        if all(count == 1 for count in counts):
            return g("GlobalAveragePool", x)
        kernel = tuple(s // c for s, c in zip(x.shape[2:], counts, strict=True) if isinstance(s, int) and s % c == 0)
        if len(kernel) == len(counts):
            return g("AveragePool", x, kernel_shape=kernel, strides=kernel)
        y, sizes = x, list(x.shape)
        for axis, count in enumerate(counts, start=2):
            y = self._pool(g, y, x.dtype, sizes, axis, count)
            sizes[axis] = count
        return y

    @staticmethod
    def _pool(g: Builder, x: Value, dtype: str, sizes: list[Size], axis: int, count: int) -> Value:
        size = sizes[axis]
        if count == 1:
            return g("ReduceMean", x, g.ints(axis))
        if size % count == 0:
            parts = g.reshape(x, [*sizes[:axis], count, size // count, *sizes[axis + 1 :]])
            return g("ReduceMean", parts, g.ints(axis + 1), keepdims=0)
        assert isinstance(size, int)
        perm = [i if i not in (axis, len(sizes) - 1) else axis + len(sizes) - 1 - i for i in range(len(sizes))]
        mean = g("MatMul", g.transpose(x, *perm), g.constant(_means(size, count), dtype))
        return g.transpose(mean, *perm)


def _means(size: int, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The matrix [size, count] that takes the mean of every part."""
    matrix = np.zeros((size, count))
    for i in range(count):
        start, end = i * size // count, -(-(i + 1) * size // count)
        matrix[start:end, i] = 1 / (end - start)
    return matrix
