"""Every figure that a spec publishes is the model's own, to the figure's own rounding."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import summarize
from lamina.schema.sections import Published

SPECS = Path(__file__).parents[2] / "specs"
UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def claims() -> Iterator[tuple[Path, str]]:
    """Each spec with each of its variants that publishes figures."""
    for path in sorted(SPECS.glob("*/*.yaml")):
        if path.parent.name != "blocks":
            for variant in lamina.load(path).published:
                yield path, variant


def rounded(number: int, like: str | int) -> str:
    """A number to as many digits, and in the unit, of a published figure: 11915176 like 11.9M is 11.9M."""
    text = str(like)
    if text[-1] not in UNITS:
        return str(number)
    value = Decimal(number) / UNITS[text[-1]]
    return f"{value.quantize(Decimal(text[:-1]))}{text[-1]}"


@pytest.mark.parametrize(
    ("number", "like", "expected"), [(11915176, "11.9M", "11.9M"), (11915176, "12M", "12M"), (4972150784, "5.0G", "5.0G"), (7, 8, "7")]
)
def test_rounding(number: int, like: str | int, expected: str) -> None:
    assert rounded(number, like) == expected


@pytest.mark.sweep
@pytest.mark.parametrize(("path", "variant"), list(claims()), ids=lambda v: v.stem if isinstance(v, Path) else v)
def test_published(path: Path, variant: str) -> None:
    spec = lamina.load(path, variant=variant)
    figures: Published = spec.published[variant]
    model = elaborate(spec)
    summary = summarize(model, {name: figures.at.get(name, 1) for name in model.dims})
    for figure, own in ((figures.params, summary.parameters), (figures.macs, summary.macs)):
        assert figure is None or rounded(own, figure) == str(figure)
