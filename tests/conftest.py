"""Evidence: tests that prove something of a spec record the figure they saw. `make evidence` writes it to specs/evidence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evidence import Record

import lamina
from lamina.schema.spec import ModelSpec
from lamina.status import digest, evidence_file

_FOUND = pytest.StashKey[dict[tuple[str, str, str], str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--evidence", action="store_true", help="write what the tests recorded to specs/evidence")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FOUND] = {}


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """`record(spec file, variant, check, figure)`, to be called after the assertions have passed."""
    found = request.config.stash[_FOUND]

    def keep(path: Path, variant: str | None, check: str, figure: str) -> None:
        found[str(path), variant or "", check] = figure

    return keep


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if not session.config.getoption("--evidence") or exitstatus != 0:
        return
    for (path, variant, check), figure in sorted(session.config.stash[_FOUND].items()):
        _write(lamina.load(path), variant, check, figure)


def _write(spec: ModelSpec, variant: str, check: str, figure: str) -> None:
    """Add a figure to what is known of this very text; what was known of another text goes."""
    target = evidence_file(spec)
    entry = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    if entry.get("sha256") != digest(spec):
        entry = {"sha256": digest(spec), "variants": {}}
    entry["variants"].setdefault(variant, {})[check] = figure
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(entry, indent=1, sort_keys=True) + "\n", encoding="utf-8")
