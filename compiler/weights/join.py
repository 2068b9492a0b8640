"""The `join:` rules of a spec's `weights:` section: weights of ours that a checkpoint holds in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lamina.compiler.weights.rename import changed
from lamina.compiler.weights.tensor import Tensor, cast, joined
from lamina.schema.diagnostics import Fault
from lamina.schema.dims import FLOATS
from lamina.schema.patterns import Pattern, fill
from lamina.schema.weights import Join, WeightRules


@dataclass(frozen=True, slots=True)
class Whole:
    """A path of the model, the pattern that matches it, its rule, and the paths of its parts, in order."""

    path: str
    pattern: str
    rule: Join
    parts: tuple[str, ...]

    def apply(self, tensors: Sequence[Tensor], dtype: str) -> Tensor:
        """The parts as one tensor, lazily; floating-point numbers of several dtypes become `dtype`. Raises Fault when they do not fit."""
        if len({t.dtype for t in tensors}) > 1 and all(t.dtype in FLOATS for t in tensors):
            tensors = [cast(t, dtype) for t in tensors]
        try:
            return changed(joined(tensors, self.rule.dim), self.rule)
        except ValueError as error:
            raise Fault("weights", f"the parts of `{self.path}` do not fit: {error}") from error


def wholes(rules: WeightRules, paths: Iterable[str]) -> list[Whole]:
    """What `join:` makes of these paths: for each, what the first pattern says that matches it."""
    patterns = [(Pattern.parse(text), rule) for text, rule in rules.join.items()]
    found = (next(_matching(path, patterns), None) for path in paths) if patterns else ()
    return [whole for whole in found if whole is not None]


def _matching(path: str, patterns: Sequence[tuple[Pattern, Join]]) -> Iterator[Whole]:
    for pattern, rule in patterns:
        captures = pattern.captures(path)
        if captures is not None:
            yield Whole(path, pattern.text, rule, tuple(fill(part, captures) for part in rule.of))
