from __future__ import annotations

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import need_dtype
from lamina.compiler.graph import Value
from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example, Op, OpError, SizeArg, fast_path, need_rank
from lamina.compiler.rules import integers_below, scattered_rows, sizes
from lamina.schema.dims import FLOATS, TensorType


class SegmentSum(Op):
    """y[c] = the sum of x[i] over all i with index[i] = c, along the first dimension; zero where there is none.

    x: float, [n, ...]; index: int32 or int64, [n], 0 to count - 1; y: [count, ...]; `count` may be dynamic. An index out of range is a
    run-time error. Sends messages along the edges of a graph, pools nodes and tokens.
    Source: torch.Tensor.index_add; tf.math.unsorted_segment_sum.
    """

    name = "segment_sum"
    count: SizeArg
    examples = (
        Example({"count": 5}, ["float32[t, 3]", "int64[t]"], values="index:5"),
        Example({"count": "b + 2"}, ["float32[h, 2, w]", "int32[h]"], values="index:3"),
        Example({"count": 4}, ["float32[t]", "int64[t]"], values="index:4"),
    )

    def infer(self, x: TensorType, index: TensorType) -> TensorType:
        need_dtype(x, FLOATS)
        need_dtype(index, ("int64", "int32"), "the index")
        need_rank(index, 1, "the index")
        if not x.rank or x.shape[0] != index.shape[0]:
            raise OpError(f"{x} and the index {index} must have the same first size")
        return x.with_shape(sizes([self.count, *x.shape[1:]]))

    def define(self, g: Builder, x: Value, index: Value) -> Value:
        zeros = g("Expand", g.scalar(0, x), g.shape([self.count, *x.shape[1:]]))
        return scattered_rows(g, zeros, index, x, "add")

    @fast_path("tensorrt")
    def as_product(self, g: Builder, x: Value, index: Value) -> Value:
        """A matrix of ones where row i goes to segment c, times x: there is no scatter that adds."""
        rows = index if index.dtype == "int64" else g("Cast", index, to=ONNX_DTYPE["int64"])
        hits = g("Equal", g("Unsqueeze", integers_below(g, self.count), g.ints(1)), rows)
        flat = x if x.rank == 2 else g("Reshape", x, g.ints(0, -1))
        y = g("MatMul", g("Cast", hits, to=ONNX_DTYPE[x.dtype]), flat)
        return y if x.rank == 2 else g.reshape(y, [self.count, *x.shape[1:]])
