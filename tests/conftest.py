"""Evidence: tests that prove something of a spec record the figure they saw. `make evidence` writes it to specs/evidence."""

from __future__ import annotations

import gc
import json
import os
import secrets
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from evidence import Record

import lamina
from lamina.schema import yaml_text
from lamina.schema.spec import ModelSpec
from lamina.status import digest, evidence_file

Found = dict[tuple[str, str, str], str]
_FOUND = pytest.StashKey[Found]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--evidence", action="store_true", help="write what the tests recorded to specs/evidence")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FOUND] = {}
    # Ray's ports are open to other machines, and it reads this when it is imported.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    yaml_text._parsed = cache(yaml_text._parsed.__wrapped__)  # many tests walk the whole zoo


def pytest_collection_finish() -> None:
    """Thousands of tests stay as they are: the collector of garbage need not walk them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """`record(spec file, variant, check, figure)`, to be called after the assertions have passed."""
    found = request.config.stash[_FOUND]

    def keep(path: Path, variant: str | None, check: str, figure: str) -> None:
        _keep(found, (str(path), variant or "", check), figure)

    return keep


def _keep(found: Found, key: tuple[str, str, str], figure: str) -> None:
    """What was seen of a variant itself says more than what was seen of its small form."""
    if key not in found or not figure.endswith(", small"):
        found[key] = figure


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker of pytest-xdist hands over what its tests recorded."""
    for *key, figure in getattr(node, "workeroutput", {}).get("evidence", []):
        _keep(node.config.stash[_FOUND], tuple(key), figure)


def pytest_sessionfinish(session: pytest.Session) -> None:
    found = session.config.stash[_FOUND]
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["evidence"] = [(*key, figure) for key, figure in found.items()]
    elif session.config.getoption("--evidence"):
        for (path, variant, check), figure in sorted(found.items()):
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
