"""The zoo's status is what the tests recorded of the very text that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

import lamina
from lamina.status import CHECKS, digest, status

SPECS = Path(__file__).parents[1] / "specs"
FILES = [p for p in sorted(SPECS.glob("*/*.yaml")) if p.parent.name != "blocks"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_evidence_is_of_this_text(path: Path) -> None:
    """`lamina list --status` says of each variant what was not shown yet; of a text that has changed nothing is known."""
    spec = lamina.load(path)
    found = status(spec)
    assert found is not None, f"{path.name} or a block that it uses has changed: run `make evidence`"
    assert set(found) <= set(spec.variants or [""]), "of a variant that is no more"
    assert all(set(checks) <= set(CHECKS) for checks in found.values())


def test_evidence_is_of_one_text_only(tmp_path: Path) -> None:
    source = SPECS / "vision" / "mixer.yaml"
    copy = tmp_path / "vision" / "mixer.yaml"
    copy.parent.mkdir()
    copy.write_text(source.read_text())
    assert digest(lamina.load(copy)) == digest(lamina.load(source))
    assert status(lamina.load(copy)) is not None
    copy.write_text(source.read_text().replace("depth: 8", "depth: 9"))
    assert status(lamina.load(copy)) is None
