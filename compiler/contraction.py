"""One pair of tensors with named dimensions, multiplied and summed: a MatMul between as few transposes and reshapes as will do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Value
from lamina.schema.dims import Dim, Size, product

Labels = tuple[str, ...]  # a letter each; the dimensions of `...` are .0, .1, counted from its right end


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


Multiply = Callable[[Builder, Value, Value], Value]


def matmul(g: Builder, x: Value, y: Value) -> Value:
    """[..., m, k] @ [..., k, n]."""
    return g("MatMul", x, y)


def products(g: Builder, x: Value, y: Value) -> Value:
    """[..., m, k] @ [..., k, n] as products and a sum, for integers on targets that multiply matrices of floats only."""
    every = g("Mul", g("Unsqueeze", x, g.ints(-1)), g("Unsqueeze", y, g.ints(-3)))
    return g("ReduceSum", every, g.ints(-2), keepdims=0)


def contract(
    g: Builder, step: Step, a: tuple[Labels, Value], b: tuple[Labels, Value], sizes: dict[str, Size], multiply: Multiply = matmul
) -> Value:
    """The product of two terms, by `multiply`, or as a Mul when nothing is summed over. Its dimensions are `step.labels`."""
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
    z = multiply(g, left, right)
    return z if len(rows) == len(columns) == 1 else reshaped(g, z, kept, [*rows, *columns])


def summed(g: Builder, value: Value, have: Labels, wanted: Labels) -> tuple[Value, Labels]:
    """Sum over the dimensions that nobody wants."""
    axes = [i for i, label in enumerate(have) if label not in wanted]
    left = tuple(label for label in have if label in wanted)
    return (g("ReduceSum", value, g.ints(*axes), keepdims=0), left) if axes else (value, left)


def diagonal(g: Builder, value: Value, have: Labels, sizes: dict[str, Size]) -> tuple[Value, Labels]:
    """The elements whose repeated labels are equal, each label once: of a flattened square, every element after one row and one more."""
    for label in have:
        while have.count(label) > 1:
            first, second = [i for i, other in enumerate(have) if other == label][:2]
            rest = [i for i in range(len(have)) if i not in (first, second)]
            square = g.transpose(value, *rest, first, second)
            flat = reshaped(g, square, len(rest), [sizes[label] * sizes[label]])
            value = g("Slice", flat, g.ints(0), g.ints(2**63 - 1), g.ints(-1), g.size(sizes[label] + 1))
            have = (*(have[i] for i in rest), label)
    return value, have


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


def _dots(label: str) -> int:
    """Sorts the dimensions of `...` first, outermost first."""
    return -int(label[1:]) - 1 if label.startswith(".") else 0
