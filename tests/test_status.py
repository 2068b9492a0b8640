"""The zoo's status is what the tests recorded of the very text that is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from evidence import LARGEST

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import parameter_count
from lamina.status import CHECKS, digest, status

SPECS = Path(__file__).parents[1] / "specs"
FILES = [p for p in sorted(SPECS.glob("*/*.yaml")) if p.parent.name != "blocks"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_everything_was_shown_of_every_variant_of_this_text(path: Path) -> None:
    """Of a text that has changed nothing is known. What is too large to be run whole is counted, and compared in a smaller size."""
    spec = lamina.load(path)
    found = status(spec)
    assert found is not None, f"{path.name} or a block that it uses has changed: run `make evidence`"
    assert found.keys() == set(spec.variants or [""])
    for variant, checks in found.items():
        assert checks.keys() == set(CHECKS) or (checks.keys() == {"parameters", "parity"} and _is_large(path, variant)), variant


def _is_large(path: Path, variant: str) -> bool:
    return parameter_count(elaborate(lamina.load(path, variant=variant or None)).graph) > LARGEST


def test_evidence_is_of_one_text_only(tmp_path: Path) -> None:
    source = SPECS / "vision" / "mixer.yaml"
    copy = tmp_path / "vision" / "mixer.yaml"
    copy.parent.mkdir()
    copy.write_text(source.read_text())
    assert digest(lamina.load(copy)) == digest(lamina.load(source))
    assert status(lamina.load(copy)) is not None
    copy.write_text(source.read_text().replace("depth: 8", "depth: 9"))
    assert status(lamina.load(copy)) is None
