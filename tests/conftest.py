"""Evidence: tests that prove something of a spec record the figure they saw. `make evidence` writes it to specs/evidence.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evidence import Record

import lamina
from lamina.status import digest, key

_FOUND = pytest.StashKey[dict[tuple[str, str, str], str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--evidence", type=Path, help="write what the tests recorded to this file, keeping what they did not touch")


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
    target: Path | None = session.config.getoption("--evidence")
    if target is None or exitstatus != 0:
        return
    entries = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    for (path, variant, check), figure in sorted(session.config.stash[_FOUND].items()):
        spec = lamina.load(path)
        entry = entries.get(key(spec))
        if entry is None or entry["sha256"] != digest(spec):
            entry = entries[key(spec)] = {"sha256": digest(spec), "variants": {}}
        entry["variants"].setdefault(variant, {})[check] = figure
    target.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")
