"""Which precision each layer gets: the least bytes for an error, or the least error for bytes, where errors of layers add up or cancel.

A layer in a precision changes the model's outputs by a vector d. To first order several change them by the sum of theirs, so the squared
error of a choice is x'Gx, G holding the products of any two: the second-order term of the loss within and between layers, in the
Gauss-Newton form (CLADO, arXiv 2307.05657, measures each pair instead). G takes one measurement a layer and precision, and is never
negative. What is left is a small quadratic knapsack, which is solved by descent at many prices and then by exchanges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np

Array = np.ndarray[Any, Any]
Choice = tuple[int, ...]  # the place of an option, of each layer
_PRICES = 60
_STARTS = 8
_KICKS, _KICKED = 24, 4  # how often a few layers are changed at random, to see whether exchanges lead elsewhere


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """Layers with options: `options[i]` are places in `sizes` (bytes) and in `gram` [places, places], a layer's exact one with zeros."""

    options: tuple[tuple[int, ...], ...]
    sizes: Array
    gram: Array

    def error(self, choice: Choice) -> float:
        """The predicted error, as a root."""
        places = list(choice)
        return float(np.sqrt(max(self.gram[np.ix_(places, places)].sum(), 0.0)))

    def size(self, choice: Choice) -> int:
        """Bytes of all layers."""
        return int(self.sizes[list(choice)].sum())


def smallest(problem: Problem, error: float) -> Choice:
    """The choice of least bytes whose predicted error is at most `error`, which the exact options always meet."""
    return _best(_Search(problem, error**2, None))


def nearest(problem: Problem, size: int) -> Choice:
    """The choice of least predicted error whose bytes are at most `size`; the smallest of all where none are."""
    least = min(map(problem.size, _descents(problem)))
    return _best(_Search(problem, None, max(size, least)))


@final
@dataclass(frozen=True, slots=True)
class _Search:
    """A problem with a limit of one kind: of the squared error, or of bytes."""

    problem: Problem
    error: float | None
    size: int | None

    def keys(self, errors: Array, sizes: Array) -> Array:
        """What should be least, of squared errors and sizes: infinite where the limit is passed."""
        if self.error is not None:
            return np.where(errors <= self.error, sizes + errors / (errors.max() + 1e-30) * 0.5, np.inf)
        return np.where(sizes <= (self.size or 0), errors, np.inf)

    def key(self, choice: Choice) -> float:
        """That of one choice."""
        return float(self.keys(np.array([self.problem.error(choice) ** 2]), np.array([self.problem.size(choice)]))[0])


def _best(search: _Search) -> Choice:
    """The best choice that is allowed, of those that exchanges make of what descents find, and of changes of the best."""
    starts = sorted(set(_descents(search.problem)), key=search.key)[:_STARTS]
    best = min((_exchanged(search, start) for start in starts), key=search.key)
    random = np.random.default_rng(0)
    for _ in range(_KICKS):
        kicked = list(best)
        for layer in random.choice(len(best), min(_KICKED, len(best)), replace=False):
            kicked[layer] = int(random.choice(search.problem.options[layer]))
        best = min(best, _exchanged(search, tuple(kicked)), key=search.key)
    return best


def _descents(problem: Problem) -> Iterator[Choice]:
    """Choices that no change of one layer improves, at prices of an error from nothing to all; the extremes are among them."""
    yield tuple(max(places, key=lambda p: problem.sizes[p]) for places in problem.options)
    choice = tuple(min(places, key=lambda p: problem.sizes[p]) for places in problem.options)
    yield choice
    unit = float(problem.sizes.max()) * len(problem.options) / max(problem.error(choice) ** 2, 1e-30)
    for price in np.logspace(-4, 6, _PRICES) * unit:
        choice = _descent(problem, choice, float(price))
        yield choice


def _descent(problem: Problem, start: Choice, price: float) -> Choice:
    choice, moved = list(start), True
    while moved:
        moved = False
        for layer, places in enumerate(problem.options):
            cross = problem.gram[:, choice[:layer] + choice[layer + 1 :]].sum(1)
            costs = {p: float(problem.sizes[p] + price * (problem.gram[p, p] + 2 * cross[p])) for p in places}
            best = min(places, key=lambda p: costs[p])
            if costs[best] < costs[choice[layer]] - 1e-9:
                choice[layer], moved = best, True
    return tuple(choice)


def _exchanged(search: _Search, choice: Choice) -> Choice:
    """The choice after the best change of one or two layers, and so on until none is better."""
    while True:
        layers, places = _changes(search.problem, choice)
        errors, sizes = _after(search.problem, choice, layers, places)
        keys = np.where((layers[:, None] == layers) & ~np.eye(len(layers), dtype=bool), np.inf, search.keys(errors, sizes))
        first, second = np.unravel_index(int(keys.argmin()), keys.shape)
        if not keys[first, second] < keys[0, 0] * (1 - 1e-12):
            return choice
        found = list(choice)
        for change in {int(first), int(second)} - {0}:
            found[layers[change]] = int(places[change])
        choice = tuple(found)


def _changes(problem: Problem, choice: Choice) -> tuple[Array, Array]:
    """Layers and the places that they may change to; first, none: a layer -1 that stays."""
    made = [(layer, place) for layer, places in enumerate(problem.options) for place in places if place != choice[layer]]
    layers, places = zip((-1, choice[0]), *made, strict=True)
    return np.array(layers), np.array(places)


def _after(problem: Problem, choice: Choice, layers: Array, places: Array) -> tuple[Array, Array]:
    """Squared errors and sizes after each two changes, [changes, changes]; on the diagonal after one."""
    gram, before = problem.gram, np.array(choice)[layers]
    before[0] = places[0]
    cross = gram[:, list(choice)].sum(1)
    straight = 2 * (cross[places] - cross[before])
    mixed = gram[np.ix_(places, places)] - gram[np.ix_(places, before)] - gram[np.ix_(before, places)] + gram[np.ix_(before, before)]
    alone = straight + mixed.diagonal()
    weight = (problem.sizes[places] - problem.sizes[before]).astype(np.float64)
    whole, one = problem.error(choice) ** 2, np.eye(len(layers), dtype=bool)
    errors = whole + np.where(one, alone, alone[:, None] + alone + 2 * mixed)
    return np.maximum(errors, 0.0), problem.size(choice) + np.where(one, weight, weight[:, None] + weight)
