from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamina.compiler.builder import Builder
from lamina.compiler.elementwise import WIDE, need_dtype, same_dtype
from lamina.compiler.graph import Value
from lamina.compiler.op import Example, Op, OpError, Types
from lamina.schema.dims import Dim, Size, TensorType, product

Labels = tuple[str, ...]


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
        Example({"equation": "bii->bi"}, ["float32[b, 4, 4]"]),
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
        types = [TensorType(x.dtype, x.shape) for x in xs]
        terms, output = labels(self.equation, types)
        if any(len(set(term)) < len(term) for term in terms):  # a diagonal
            return g("Einsum", *xs, equation=self.equation.replace(" ", ""))
        sizes = label_sizes(self.equation, terms, types)
        have, value = terms[0], xs[0]
        for i, (term, x) in enumerate(zip(terms[1:], xs[1:], strict=True), 1):
            step = Step.of(have, term, output, terms[i + 1 :])
            have, value = step.labels, contract(g, step, (have, value), (term, x), sizes)
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


@dataclass(frozen=True, slots=True)
class Step:
    """One pair of terms: labels of both that stay, of the left or right term only, and of both that are summed over."""

    batch: Labels
    left: Labels
    right: Labels
    summed: Labels

    @staticmethod
    def of(a: Labels, b: Labels, output: Labels, later: Sequence[Labels]) -> Step:
        needed = {*output, *(label for term in later for label in term)}
        # Dimensions of `...` may have size 1 in one term, so they are always of both: MatMul broadcasts them.
        both = {label for label in (*a, *b) if label in needed and ((label in a and label in b) or label.startswith("."))}
        batch = tuple(dict.fromkeys(label for label in (*a, *b) if label in both))
        left, right = (tuple(label for label in term if label in needed and label not in both) for term in (a, b))
        return Step(tuple(sorted(batch, key=_dots)), left, right, tuple(label for label in a if label in b and label not in needed))

    @property
    def labels(self) -> Labels:
        return (*self.batch, *self.left, *self.right)


def contract(g: Builder, step: Step, a: tuple[Labels, Value], b: tuple[Labels, Value], sizes: dict[str, Size]) -> Value:
    """The product of two terms, as a MatMul, or as a Mul when nothing is summed over. Its dimensions are `step.labels`."""
    every = {*step.labels, *step.summed}
    x, y = (summed(g, value, have, tuple(every)) for have, value in (a, b))
    if not step.summed:
        return g("Mul", *(arranged(g, value, have, step.labels) for value, have in (x, y)))
    kept = len(step.batch)
    rows, columns, inner = ([sizes[label] for label in part] for part in (step.left, step.right, step.summed))
    left = arranged(g, *x, (*step.batch, *step.left, *step.summed))
    left = folded(g, left, kept, [rows, inner])
    right = arranged(g, *y, (*step.batch, *step.summed, *step.right))
    right = folded(g, right, kept, [inner, columns])
    z = g("MatMul", left, right)
    return z if len(rows) == len(columns) == 1 else reshaped(g, z, kept, [*rows, *columns])


def summed(g: Builder, value: Value, have: Labels, wanted: Labels) -> tuple[Value, Labels]:
    """Sum over the dimensions that nobody wants."""
    axes = [i for i, label in enumerate(have) if label not in wanted]
    left = tuple(label for label in have if label in wanted)
    return (g("ReduceSum", value, g.ints(*axes), keepdims=0), left) if axes else (value, left)


def arranged(g: Builder, value: Value, have: Labels, order: Labels) -> Value:
    """The dimensions in this order, with size 1 for those that the value lacks."""
    present = [label for label in order if label in have]
    if present != list(have):
        value = g.transpose(value, *(have.index(label) for label in present))
    missing = [i for i, label in enumerate(order) if label not in have]
    return g("Unsqueeze", value, g.ints(*missing)) if missing else value


def folded(g: Builder, value: Value, kept: int, groups: list[list[Size]]) -> Value:
    """Each group of dimensions as one, after `kept` leading ones."""
    if all(len(group) == 1 for group in groups):
        return value
    return reshaped(g, value, kept, [product(group) for group in groups])


def reshaped(g: Builder, value: Value, kept: int, sizes: list[Size]) -> Value:
    """Reshape all but the leading dimensions; 0 keeps a dimension, -1 is the only dynamic size, so few shapes are computed at run time."""
    dynamic = [i for i, size in enumerate(sizes) if isinstance(size, Dim)]
    if len(dynamic) == 1:
        sizes = [-1 if i in dynamic else size for i, size in enumerate(sizes)]
    return g("Reshape", value, g.shape([*[0] * kept, *sizes]))


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


def _dots(label: str) -> int:
    """Sorts the dimensions of `...` first, outermost first."""
    return -int(label[1:]) - 1 if label.startswith(".") else 0


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
