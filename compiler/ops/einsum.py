from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamina.compiler.builder import Builder
from lamina.compiler.contraction import Labels, Multiply, Step, arranged, contract, diagonal, matmul, products, summed
from lamina.compiler.elementwise import WIDE, need_dtype, same_dtype
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, Types, fast_path
from lamina.schema.dims import INTEGERS, Size, TensorType, product


class Einsum(Op):
    """A sum of products over named dimensions, such as `bhid,bhjd->bhij`.

    xs: float, int64 or int32, of one dtype, one for each term of the equation. A dimension that is not in the output is summed over;
    `...` stands for any number of dimensions, which broadcast. Lowered to MatMul, pair by pair from the left. Source: torch.einsum.
    """

    name = "einsum"
    equation: str
    examples = (
        Example({"equation": "bij,bjk->bik"}, ["float32[b, t, 8]", "float32[b, 8, 5]"]),
        Example({"equation": "bhid,bhjd->bhij"}, ["float32[b, 2, t, 8]", "float32[b, 2, h, 8]"]),
        Example({"equation": "b h i d, h d e -> b i e"}, ["float32[b, 3, t, 8]", "float32[3, 8, 5]"]),
        Example({"equation": "...ij,...j->...i"}, ["float32[b, 1, t, 6]", "float32[3, 6]"]),
        Example({"equation": "i,j->ji"}, ["float32[t]", "float32[8]"]),
        Example({"equation": "abc->ca"}, ["float32[b, t, 5]"]),
        Example({"equation": "ij,ij->"}, ["float32[b, t]", "float32[b, t]"]),
        Example({"equation": "nct,cd,de->net"}, ["float32[b, 3, t]", "float32[3, 4]", "float32[4, 6]"]),
        Example({"equation": "bchw,oc->bohw"}, ["float32[b, 3, h, w]", "float32[5, 3]"]),
        Example({"equation": "bti,sj->bs"}, ["float32[b, t, 3]", "float32[h, 2]"]),
        Example({"equation": "bij,bjk->bik"}, ["int64[b, t, 8]", "int64[b, 8, 5]"]),
        Example({"equation": "bii->bi"}, ["float32[b, 4, 4]"]),
        Example({"equation": "iji,k->kj"}, ["float32[t, 3, t]", "float32[b]"]),
    )

    def infer(self, *xs: TensorType) -> TensorType:
        same_dtype(*xs)
        need_dtype(xs[0], WIDE)
        terms, output = labels(self.equation, xs)
        sizes = label_sizes(self.equation, terms, xs)
        for label in output:
            if label not in sizes or output.count(label) > 1:
                raise OpError(f"the output of `{self.equation}` has `{label}`, which must stand once there and in at least one input")
        return xs[0].with_shape(sizes[label] for label in output)

    def define(self, g: Builder, *xs: Value) -> Value:
        return self._pairwise(g, xs, matmul)

    @fast_path("tensorrt")
    def of_integers(self, g: Builder, *xs: Value) -> Any:
        """TensorRT multiplies matrices of floats only."""
        return self._pairwise(g, xs, products) if xs[0].dtype in INTEGERS else NotImplemented

    def _pairwise(self, g: Builder, xs: Sequence[Value], multiply: Multiply) -> Value:
        types = [TensorType(x.dtype, x.shape) for x in xs]
        terms, output = labels(self.equation, types)
        sizes = label_sizes(self.equation, terms, types)
        (value, have), *others = (diagonal(g, x, term, sizes) for x, term in zip(xs, terms, strict=True))
        for i, (x, term) in enumerate(others, 1):
            step = Step.of(have, term, output, terms[i + 1 :])
            have, value = step.labels, contract(g, step, (have, value), (term, x), sizes, multiply)
        value, have = summed(g, value, have, output)
        return arranged(g, value, have, output)

    def macs(self, inputs: Sequence[TensorType], output: Types) -> Size:
        terms, out = labels(self.equation, inputs)
        sizes = label_sizes(self.equation, terms, inputs)
        have, total = terms[0], 0
        for i, term in enumerate(terms[1:], 1):
            step = Step.of(have, term, out, terms[i + 1 :])
            have = step.labels
            total = total + (product(sizes[label] for label in (*step.labels, *step.summed)) if step.summed else 0)
        return total


def labels(equation: str, xs: Sequence[TensorType]) -> tuple[list[Labels], Labels]:
    """The labels of every input and of the output; `...` becomes .2 .1 .0, counted from its right end."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if not arrow:
        raise OpError(f"`{equation}` does not say what comes out", "write it after an arrow, as in 'ij,jk->ik'", "equation")
    if len(parts) != len(xs):
        raise OpError(f"`{equation}` has {len(parts)} terms, but {len(xs)} tensors are given", code="equation")
    for part in (*parts, right):
        rest = part.replace("...", "", 1)
        if rest and not (rest.isascii() and rest.isalpha()):
            raise OpError(f"`{part}` in `{equation}` must be letters, and `...` at most once", code="equation")
    terms = [_term(part, x.rank, f"`{part}` in `{equation}`: {x}") for part, x in zip(parts, xs, strict=True)]
    count = max(sum(label.startswith(".") for label in term) for term in terms)
    if count and "..." not in right:
        raise OpError(f"the output of `{equation}` must have the `...` of its inputs", code="equation")
    return terms, _term(right, len(right.replace("...", "")) + count, right)


def _term(part: str, rank: int, what: str) -> Labels:
    before, dots, after = part.partition("...")
    extra = rank - len(before) - len(after)
    if extra < 0 or (extra and not dots):
        raise OpError(f"{what} has {rank} dimensions, but {len(before) + len(after)} letters")
    return (*before, *(f".{i}" for i in reversed(range(extra))), *after)


def label_sizes(equation: str, terms: Sequence[Labels], xs: Sequence[TensorType]) -> dict[str, Size]:
    """The size of every label; those of `...` broadcast."""
    sizes: dict[str, Size] = {}
    for term, x in zip(terms, xs, strict=True):
        for label, size in zip(term, x.shape, strict=True):
            known = sizes.setdefault(label, size)
            if label.startswith(".") and known == 1:
                sizes[label] = size
            elif known != size and not (label.startswith(".") and size == 1):
                raise OpError(f"`{'...' if label.startswith('.') else label}` in `{equation}` is {known} in one input and {size} in {x}")
    return sizes
