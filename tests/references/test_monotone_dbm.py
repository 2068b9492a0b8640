"""The one fixed point of the mean field: it is one, the start does not matter, and one file completes and classifies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence import Record
from fill import uniform
from safetensors.numpy import save_file

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "probabilistic" / "monotone_dbm.yaml"
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Layers:
    """A small variant: the variables and states of each layer, and what is connected."""

    counts: tuple[int, ...]
    states: tuple[int, ...]
    connections: tuple[tuple[int, ...], ...]
    rank: int = 4
    monotone: float = 0.1

    @property
    def owners(self) -> Array:
        """The variable of each entry of the beliefs."""
        return np.repeat(np.arange(sum(self.counts)), np.repeat(self.states, self.counts))

    def potentials(self, weights: dict[str, Array]) -> Array:
        """blockdiag(A^T A) - A^T A by the paper's formula, column by column."""
        columns = []
        for layer, (count, states) in enumerate(zip(self.counts, self.states, strict=True)):
            rows = [e for e, layers in enumerate(self.connections) if layer in layers]
            for variable in range(count):
                block = weights[f"factors.{layer}.weight"][:, variable]
                block = block * min(np.sqrt(1 - self.monotone) / np.linalg.norm(block), 1)
                column = np.zeros((self.rank * len(self.connections), states))
                for place, row in enumerate(rows):
                    column[self.rank * row :][: self.rank] = block[self.rank * place :][: self.rank]
                columns.append(column)
        a = np.concatenate(columns, axis=1)
        return np.where(self.owners[:, None] == self.owners, 0, -(a.T @ a))

    def bias(self, weights: dict[str, Array]) -> Array:
        """Of each entry of the beliefs."""
        return weights["bias"]

    def by_variable(self, log_q: Array) -> Array:
        """Softmax over the entries of each variable."""
        e = np.exp(log_q)
        sums = np.stack([e[:, self.owners == v].sum(1) for v in range(sum(self.counts))], axis=1)
        found: Array = e / sums[:, self.owners]
        return found

    def one_hot(self, values: Array) -> Array:
        """Of each variable's value."""
        first = np.cumsum([0, *np.repeat(self.states, self.counts)])[:-1]
        found: Array = np.arange(len(self.owners)) == (first + values)[:, self.owners]
        return found


# Of each connection of 8x8 pixels: the side of its grid, which is wide enough for every kernel over every pixel, and how the layers are
# laid on it, by stride and padding.
GRIDS: list[tuple[int, dict[int, tuple[int, int]]]] = [
    (10, {0: (1, 2)}),
    (6, {0: (2, 3), 1: (1, 2)}),
    (4, {0: (4, 4), 1: (2, 3), 2: (1, 2)}),
    (1, {2: (1, 0), 3: (1, 0)}),
]


class Images(Layers):
    """Layers of 8x8, 4x4 and 2x2 places and the label: A is written out, entry by entry."""

    def potentials(self, weights: dict[str, Array]) -> Array:
        rows = []
        for e, (grid, layers) in enumerate(GRIDS):
            part = [np.zeros((0, 0))] * 4
            outs = len(weights[f"kernels.{min(layers)}.weight.{e}"])
            for layer in range(4):
                part[layer] = np.zeros((outs, grid, grid, self.counts[layer] * self.states[layer]))
                if layer in layers:
                    self._lay(part[layer], self.limited(weights, layer)[e], layer, *layers[layer])
            rows.append(np.concatenate(part, axis=3).reshape(outs * grid**2, -1))
        a = np.concatenate(rows)
        return np.where(self.owners[:, None] == self.owners, 0, -(a.T @ a))

    def bias(self, weights: dict[str, Array]) -> Array:
        images = [weights[f"bias.{layer}"] for layer in range(4)]
        parts = [image.reshape(-1, k, *image.shape[1:]) for image, k in zip(images, self.states, strict=True)]
        return np.concatenate([np.moveaxis(part, 1, -1).reshape(-1) for part in parts])

    def limited(self, weights: dict[str, Array], layer: int) -> dict[int, Array]:
        """The kernels of a layer by connection, so that no variable's column of A is too long, wherever it stands."""
        kernels = {e: weights[f"kernels.{layer}.weight.{e}"].copy() for e, (_, layers) in enumerate(GRIDS) if layer in layers}
        states = self.states[layer]
        for first in range(0, next(iter(kernels.values())).shape[1], states):
            own = {e: (kernel[:, first : first + states] ** 2).sum((0, 1)) for e, kernel in kernels.items()}
            length = np.sqrt(sum(square.max() if e == 3 else square.sum() for e, square in own.items()))
            for kernel in kernels.values():
                kernel[:, first : first + states] *= min(np.sqrt(1 - self.monotone) / length, 1)
        return kernels

    def _lay(self, out: Array, kernel: Array, layer: int, stride: int, padding: int) -> None:
        side, states = (8, 4, 2, 1)[layer], self.states[layer]
        for y, x, dy, dx in np.ndindex(side, side, *kernel.shape[2:]):
            (row, outside), (column, beside) = divmod(y + padding - dy, stride), divmod(x + padding - dx, stride)
            if outside or beside or not (0 <= row < out.shape[1] and 0 <= column < out.shape[1]):
                continue
            for channel in range(kernel.shape[1]):
                place = ((channel // states * side + y) * side + x) * states + channel % states
                out[:, row, column, place] = kernel[:, channel, dy, dx]


SHALLOW = Layers((6, 3, 1), (2, 2, 4), ((0, 1), (1, 2)))
IMAGES = Images((64, 32, 8, 1), (2, 3, 3, 4), (), monotone=0.01)
VARIANTS = {
    "shallow": SHALLOW,
    "started": SHALLOW,
    "deep": Layers((6, 3, 3, 1), (2, 2, 2, 4), ((0, 1), (1, 2), (2, 3))),
    "joint": Layers((6, 3, 1), (2, 2, 4), ((0, 1, 2),)),
    "images": IMAGES,
    "images_started": IMAGES,
}


def strong(variant: str, small: bool = True) -> dict[str, Array]:
    """Weights whose potentials are about as large as they may be."""
    stored = lamina.to_torch(lamina.load(SPEC, variant=variant, small=small)).state_dict()
    drawn = {name: 2 * uniform(name, tuple(value.shape)) for name, value in stored.items()}
    for name in [name for name in drawn if name.startswith("kernels")]:  # alike everywhere, so that neighbours pull together
        drawn[name] = np.abs(drawn[name]) * (1 - 2 * (np.arange(drawn[name].shape[1], dtype=np.float32) % 2))[:, None, None]
    return drawn


def session(folder: Path, variant: str, weights: dict[str, Array], small: bool = True) -> lamina.Session:
    save_file(weights, folder / "weights.safetensors")
    spec = lamina.load(SPEC, variant=variant, small=small)
    return lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "weights.safetensors"))


def asked(layers: Layers) -> dict[str, Array]:
    """Four requests: nothing is observed, the pixels are, the label is, and some of each."""
    label = sum(layers.counts) - 1
    values = np.tile((np.arange(label + 1) * 5 % 7) % 2, (4, 1))
    values[:, label] = 3
    observed = np.zeros((4, label + 1), bool)
    observed[1, : layers.counts[0]] = observed[2, label] = observed[3, [0, 2, 7, label]] = True
    return {"values": values, "observed": observed}


def started(request: dict[str, Array], variant: str, start: Array) -> dict[str, Array]:
    return request | ({"start": start} if variant.endswith("started") else {})


@pytest.mark.parametrize("variant", VARIANTS)
def test_beliefs_are_the_one_mean_field_of_what_is_observed(tmp_path: Path, record: Record, variant: str) -> None:
    layers, weights = VARIANTS[variant], strong(variant)
    potentials, size = layers.potentials(weights), len(layers.owners)
    assert np.linalg.eigvalsh(np.eye(size) - potentials).min() >= layers.monotone - 1e-6
    assert np.abs(potentials).sum(1).max() > 2  # not a contraction by their mere size
    request = asked(layers)
    q = session(tmp_path, variant, weights)(**started(request, variant, np.zeros((4, size), np.float32)))["beliefs"].astype(np.float64)
    wanted = layers.by_variable(q @ potentials + layers.bias(weights))
    wanted = np.where(request["observed"][:, layers.owners], layers.one_hot(request["values"]), wanted)
    np.testing.assert_allclose(q, wanted, atol=1e-5)
    assert q[0].min() > 0.005  # the beliefs are not at a corner, where any potentials would do
    if variant != "images":  # of which the authors' code says more
        record(SPEC, variant, "parity", f"{np.abs(q - wanted).max():.0e} from the paper's fixed point, small")


WHOLE = {
    "shallow": Layers((784, 200, 1), (2, 2, 10), ((0, 1), (1, 2)), rank=64),
    "deep": Layers((784, 200, 200, 1), (2, 2, 2, 10), ((0, 1), (1, 2), (2, 3)), rank=64),
    "joint": Layers((784, 200, 1), (2, 2, 10), ((0, 1, 2),), rank=64),
}


@pytest.mark.sweep
@pytest.mark.parametrize("variant", WHOLE)
def test_whole_variants_end_at_the_mean_field(tmp_path: Path, record: Record, variant: str) -> None:
    layers, weights = WHOLE[variant], strong(variant, small=False)
    potentials = layers.potentials(weights)
    values = np.arange(2 * sum(layers.counts)).reshape(2, -1) % 2
    observed = np.zeros(values.shape, bool)
    observed[1, :400] = True
    q = session(tmp_path, variant, weights, small=False)(values=values, observed=observed)["beliefs"].astype(np.float64)
    wanted = layers.by_variable(q @ potentials + layers.bias(weights))
    wanted = np.where(observed[:, layers.owners], layers.one_hot(values), wanted)
    np.testing.assert_allclose(q, wanted, atol=1e-5)
    record(SPEC, variant, "parity", f"{np.abs(q - wanted).max():.0e} from the paper's fixed point")


@pytest.mark.sweep
def test_whole_images_have_one_mean_field(tmp_path: Path) -> None:
    """Wherever the search begins, with and without pixels that are observed."""
    run = session(tmp_path, "images_started", strong("images_started", small=False), small=False)
    variables, size = 784 + 10 * 14**2 + 20 * 7**2 + 1, 784 * 20 + 4 * (10 * 14**2 + 20 * 7**2) + 10
    values = np.arange(2 * variables).reshape(2, -1) % 10 % 4
    observed = np.zeros(values.shape, bool)
    observed[1, :300] = True
    found = [run(values=values, observed=observed, start=8 * uniform(f"start {i}", (2, size)))["beliefs"] for i in range(2)]
    assert np.ptp(np.stack(found), axis=0).max() < 1e-4


@pytest.mark.parametrize("variant", ["started", "images_started"])
def test_the_start_does_not_matter(tmp_path: Path, record: Record, variant: str) -> None:
    layers, run = VARIANTS[variant], session(tmp_path, variant, strong(variant))
    starts = [8 * uniform(f"start {i}", (4, len(layers.owners))) for i in range(6)]
    found = np.stack([run(**asked(layers), start=start)["beliefs"] for start in starts])
    assert np.ptp(found, axis=0).max() < 1e-5
    record(SPEC, variant, "parity", f"{np.ptp(found, axis=0).max():.0e} between six starts, small")


def test_one_compiled_file_of_images_completes_and_classifies(tmp_path: Path) -> None:
    """The kernel of one place of the last image and the label, which pull two of their states together, is all that has potentials."""
    weights = {name: np.zeros_like(value) for name, value in strong("images").items()}
    weights["kernels.2.weight.3"][:, :3, 0, 0] = [[0, 0, 0], [5, -5, 0], [0, 0, 0], [-5, 5, 0]]
    weights["kernels.3.weight.3"][:, :, 0, 0] = np.eye(4)
    place, label = 64 + 32, 104
    values, observed = np.zeros((2, 105), np.int64), np.zeros((2, 105), bool)
    values[1, label] = 3
    observed[0, place] = observed[1, label] = True
    beliefs = session(tmp_path, "images", weights)(values=values, observed=observed)["beliefs"]
    high, low = np.exp(0.99 / 4), np.exp(-0.99 / 4)  # as large as the norm lets the four numbers of each side be
    np.testing.assert_allclose(beliefs[0, -4:], np.array([1, low, 1, high]) / (2 + high + low), atol=1e-5)
    first = 2 * 64 + 3 * 32
    np.testing.assert_allclose(beliefs[1, first : first + 3], np.array([high, low, 1]) / (1 + high + low), atol=1e-5)


def test_one_compiled_file_completes_and_classifies(tmp_path: Path) -> None:
    """A pixel and two of the label's classes have potentials, as large as the norm lets them be: c^2 = 0.9 / 2 for each pair of states."""
    weights = {name: np.zeros_like(value) for name, value in strong("joint").items()}
    weights["factors.0.weight"][0, 0] = [5, -5]
    weights["factors.2.weight"][0, 0] = [0, 5, 0, -5]
    values = np.array([[1, *[0] * 9], [0] * 10, [0] * 9 + [3], [0] * 9 + [1]])
    observed = np.array([[True, *[False] * 9]] * 2 + [[False] * 9 + [True]] * 2)
    beliefs = session(tmp_path, "joint", weights)(values=values, observed=observed)["beliefs"]
    high, low = np.exp(0.45), np.exp(-0.45)
    np.testing.assert_allclose(beliefs[0, 18:], np.array([1, high, 1, low]) / (2 + high + low), atol=1e-5)
    np.testing.assert_allclose(beliefs[1, 18:], np.array([1, low, 1, high]) / (2 + high + low), atol=1e-5)
    np.testing.assert_allclose(beliefs[2, :2], np.array([high, low]) / (high + low), atol=1e-5)
    np.testing.assert_allclose(beliefs[3, :2], np.array([low, high]) / (high + low), atol=1e-5)
