"""Every stateful spec of the zoo, small: the whole sequence at once gives what its pieces give one after the other."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from checks import bundle
from zoo import Case, assert_agree, files, model, outputs_of, richest, small_cases, torch_module

import lamina
from lamina.runtime import Session
from lamina.runtime.carrier import ArrayCarrier
from lamina.runtime.dtypes import Array
from lamina.runtime.feeds import checked
from lamina.runtime.manifest import Manifest, read_manifest
from lamina.runtime.stream import Stream
from lamina.schema.dims import FLOATS, Dim, Size, value_of

STEPS = "T"  # the dim that calls go along; every stateful spec calls it so
CUTS = (0, 4, 5, 6, 9)


@cache
def stateful(path: Path) -> Case:
    """The richest case that has states: a part that runs once has none."""
    return richest(case for case in small_cases(path) if model(case).graph.states)


def declares_states(path: Path) -> bool:
    """Whether the spec, or one that it goes on from, has states, or names a block of the library that has."""
    spec = lamina.load(path)
    library = [block for own in spec.files for file in own.imports for block in file.blocks.values()]
    words = {word for own in spec.files for word in re.findall(r"\w+", spec.sources[own.name])}
    carried = [*spec.file.blocks.values(), *(block for block in library if block.name in words)]
    return bool(spec.state) or any(block.state for block in carried)


each = pytest.mark.parametrize("path", [path for path in files() if declares_states(path)], ids=lambda path: path.stem)


@each
def test_pieces_give_what_the_whole_gives(path: Path) -> None:
    case = stateful(path)
    with bundle(case) as folder:
        check(case, Session(folder, backend="onnx"))
        check(case, Session(folder, backend="onnxruntime"))
        check(case, Module(case, read_manifest(folder)))


@pytest.mark.sweep
@each
def test_pieces_give_what_the_whole_gives_once_pytorch_has_exported(path: Path) -> None:
    case = stateful(path)
    with bundle(case, ["torch"]) as folder:
        check(case, Session(folder, backend="torch"))


def check(case: Case, session: Session | Module) -> None:
    feeds = whole(case)
    want = {k: v for k, v in session.run(feeds).items() if not k.startswith("present.")}
    stream = session.stream()
    pieces = [stream(**piece(case, feeds, a, b)) for a, b in itertools.pairwise(CUTS)]
    assert_agree(joined(case, pieces), want, f"{case}, {type(session).__name__}")


class Module:
    """PyTorch's module of a case as a session: what `torch.export` is given, which takes many times longer than all else here."""

    def __init__(self, case: Case, manifest: Manifest) -> None:
        self.module, self.manifest = torch_module(case).eval(), manifest

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs; states that are not given are new."""
        return outputs_of(self.module, checked(self.manifest, feeds), [spec.name for spec in self.manifest.outputs])

    def stream(self) -> Stream:
        return Stream(self.manifest, ArrayCarrier(self.run, self.manifest, {}))


def sizes(case: Case) -> dict[str, int]:
    """Nothing seen before, and so many steps in one call; the other dims are a little above their smallest."""
    grown = {str(size) for value in states(case) for size in value}
    dims = model(case).dims
    return {
        n: CUTS[-1] if n == STEPS else d.min if n in grown else min(d.max, d.min + d.multiple_of) for n, d in dims.items() if n != "N"
    } | {"N": 2}


def states(case: Case) -> list[tuple[Size, ...]]:
    """The shapes of the states, without the batch."""
    graph = model(case).graph
    names = {state.past for state in graph.states}
    return [tuple(size for size in value.shape if str(size) != "N") for value in graph.inputs if value.name in names]


def whole(case: Case) -> dict[str, Array]:
    """Inputs of one call: normal floats, and integers that are 0 or 1."""
    rng, at, graph = np.random.default_rng(0), sizes(case), model(case).graph
    names = {state.past for state in graph.states}
    feeds = {}
    for value in (value for value in graph.inputs if value.name not in names):
        shape = tuple(value_of(size, at) for size in value.shape)
        array = rng.standard_normal(shape) if value.dtype in FLOATS else rng.integers(0, 2, shape)
        if value.dtype not in FLOATS and shape:
            array[..., -1] = array[..., 0] = 1
        feeds[value.name] = array.astype(value.dtype)
    return feeds


def piece(case: Case, feeds: dict[str, Array], start: int, end: int) -> dict[str, Array]:
    """The inputs of the call for steps from `start` to `end`: those steps of what goes along them, and all so far of what grows."""
    found = {}
    for value in model(case).graph.inputs:
        if value.name in feeds:
            cut = tuple(_cut(size, start, end) for size in value.shape)
            found[value.name] = feeds[value.name][cut]
    return found


def _cut(size: Size, start: int, end: int) -> slice:
    if not isinstance(size, Dim) or STEPS not in {symbol.name for symbol in size.symbols}:
        return slice(None)
    return slice(start, end) if str(size) == STEPS else slice(end)


def joined(case: Case, pieces: list[dict[str, Array]]) -> dict[str, Array]:
    """Outputs along the steps end to end; of the others the last."""
    found = dict(pieces[-1])
    for value in model(case).graph.outputs:
        axes = [i for i, size in enumerate(value.shape) if str(size) == STEPS]
        if value.name in found and axes:
            found[value.name] = np.concatenate([part[value.name] for part in pieces], axis=axes[0])
    return found
