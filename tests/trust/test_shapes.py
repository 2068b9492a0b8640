"""Shapes over whole ranges: a few specs; and that what is held against them can fail."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "zoo"))

import shapes
from random_specs import numbered
from zoo import files, small_cases

import lamina
from lamina.compiler.elaborate import elaborate


def test_random_specs_and_some_of_the_zoo(tmp_path: Path) -> None:
    specs = [(path.stem, next(small_cases(path)).spec()) for path in islice(files(), 0, None, 50)]
    specs += [(str(n), lamina.load(numbered(n).write(tmp_path / str(n)), numbered(n).variant)) for n in range(8)]
    tally: Counter[str] = Counter()
    assert shapes.run(specs, tally, runs=1) == []
    assert tally["points at which every shape is the inferred one"] > 100


def test_a_wrong_shape_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself: sizes are evaluated with one dim off by one."""
    spec = lamina.load(numbered(0).write(tmp_path), numbered(0).variant)
    model = elaborate(spec)
    point = next(iter(shapes.points(model.dims)))
    shapes.fits(spec, model, point)
    right = shapes.fixed
    monkeypatch.setattr(shapes, "fixed", lambda spec, point: right(spec, {n: v + model.dims[n].multiple_of for n, v in point.items()}))
    with pytest.raises(shapes.Wrong, match="the shapes are"):
        shapes.fits(spec, model, point)
