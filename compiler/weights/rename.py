"""The rules of a spec's `weights:` section, applied to a checkpoint's tensors."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from lamina.compiler.weights.tensor import Tensor, mapped, reshaped, scaled, sliced, transposed
from lamina.schema.diagnostics import Fault
from lamina.schema.patterns import Pattern, fill
from lamina.schema.weights import Changes, Rule, Step, WeightRules

Shapes = Mapping[str, tuple[int, ...]]
Paths = tuple[str, ...]
_AS_IT_IS = Rule(to=("*",))


@dataclass(frozen=True)
class Renamer:
    """Compiled rules."""

    rules: WeightRules

    @cached_property
    def _rename(self) -> list[tuple[Pattern, Rule]]:
        return [(Pattern.parse(text), rule) for text, rule in self.rules.rename.items()]

    @cached_property
    def _ignore(self) -> list[Pattern]:
        return [Pattern.parse(text) for text in self.rules.ignore]

    def ignored(self, key: str) -> bool:
        """Whether the key is declared not to be ours."""
        return any(pattern.captures(key) is not None for pattern in self._ignore)

    def move(self, key: str, known: Container[str]) -> Move:
        """Where the key's tensor goes: as the first rule says that matches and leads to paths of the model (if none does, the first
        that matches); where no rule matches, to the path of the same name."""
        moves = [*self._matching(key, known)] or [Move(key, "", _AS_IT_IS, ((key,),))]
        return next((m for m in moves if all(path in known for path in m.paths)), moves[0])

    def _matching(self, key: str, known: Container[str]) -> Iterator[Move]:
        for pattern, rule in self._rename:
            captures = pattern.captures(key)
            if captures is not None:
                yield Move(key, pattern.text, rule, _places(rule, captures, known))


def _places(rule: Rule, captures: dict[str, str], known: Container[str]) -> tuple[Paths, ...]:
    """The paths of each part of the tensor: of one, or where it is unstacked of as many as there are paths for."""
    if rule.unstack is None:
        return (_paths(rule, captures, known),)
    numbered = (_paths(rule, {**captures, rule.unstack: str(number)}, known) for number in itertools.count())
    first = next(numbered)
    return (first, *itertools.takewhile(lambda paths: all(path in known for path in paths), numbered))


def _paths(rule: Rule, captures: dict[str, str], known: Container[str]) -> Paths:
    """Of those that share a tensor, the ones that this config has."""
    paths = tuple(fill(path, captures) for path in rule.paths)
    shared = () if rule.split else tuple(path for path in paths if path in known)
    return shared or paths


@dataclass(frozen=True, slots=True)
class Move:
    """A key, the pattern that matched it (empty for none), its rule, and the paths that it fills, for each part of its tensor."""

    key: str
    pattern: str
    rule: Rule
    places: tuple[Paths, ...]

    @property
    def paths(self) -> Paths:
        return tuple(itertools.chain.from_iterable(self.places))

    def apply(self, tensor: Tensor, shapes: Shapes) -> tuple[Tensor, ...]:
        """The tensors for the paths, lazily. `shapes` are the model's. Raises Fault when the rule does not fit the tensor."""
        try:
            parts = (tensor,) if self.rule.unstack is None else _unstacked(tensor, self.places)
            return tuple(made for part, paths in zip(parts, self.places, strict=True) for made in self._made(part, paths, shapes))
        except ValueError as error:
            raise Fault("weights", f"the rule `{self.pattern}` does not fit `{self.key}`: {error}") from error

    def _made(self, tensor: Tensor, paths: Paths, shapes: Shapes) -> tuple[Tensor, ...]:
        tensor = changed(tensor, self.rule)
        return _split(tensor, self.rule.split.dim, paths, shapes) if self.rule.split else (tensor,) * len(paths)


def _unstacked(tensor: Tensor, places: tuple[Paths, ...]) -> tuple[Tensor, ...]:
    """What lies along the first dim, one by one."""
    if not tensor.shape:
        raise ValueError("it is one number, which cannot be unstacked")
    if tensor.shape[0] != len(places):
        numbered = f"`{places[0][0]}` to `{places[-1][0]}`" if len(places) > 1 else f"`{places[0][0]}` alone"
        raise ValueError(f"it holds {tensor.shape[0]} along its first dim, but the model has {len(places)}: {numbered}")
    return tuple(reshaped(sliced(tensor, 0, i, i + 1), tensor.shape[1:]) for i in range(len(places)))


def _split(tensor: Tensor, dim: int, paths: Paths, shapes: Shapes) -> tuple[Tensor, ...]:
    if dim >= len(tensor.shape):
        raise ValueError(f"it cannot be split along dim {dim}: its shape is {list(tensor.shape)}")
    if unknown := [path for path in paths if len(shapes.get(path, ())) <= dim]:
        raise ValueError(f"the model has no weight `{unknown[0]}` with a dim {dim}")
    sizes = [shapes[path][dim] for path in paths]
    if sum(sizes) != tensor.shape[dim]:
        parts = ", ".join(f"`{path}` {size}" for path, size in zip(paths, sizes, strict=True))
        raise ValueError(f"dim {dim} is {tensor.shape[dim]}, but the model wants {parts}, {sum(sizes)} together")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(sliced(tensor, dim, start, start + size) for start, size in zip(starts, sizes, strict=True))


def changed(tensor: Tensor, changes: Changes) -> Tensor:
    """The tensor after changes whose sizes and factors are numbers, lazily. Raises ValueError when they do not fit."""
    for step in changes.order:
        tensor = _after(tensor, step)
    return tensor


def _after(tensor: Tensor, step: Step) -> Tensor:
    if step.transpose is not None:
        return transposed(tensor, step.transpose)
    if step.map is not None:
        return mapped(tensor, step.map)
    if isinstance(step.scale, int | float):
        return scaled(tensor, step.scale)
    return reshaped(tensor, tuple(size for size in step.reshape or () if isinstance(size, int)))
