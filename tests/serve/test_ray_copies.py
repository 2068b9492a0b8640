"""Copies of bundles on a machine: checked, one for all, and gone when nobody holds them."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import handmade
import numpy as np
import pytest
from serving import scale

from lamina.runtime import Session
from lamina.runtime.errors import BundleError
from lamina.runtime.ray import copies as module
from lamina.runtime.ray.copies import Copies
from lamina.runtime.ray.shelf import Shelf, checked_places
from lamina.runtime.ray.trial import _problems


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies are, in this process, in which calls of actors are calls."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(module.ray, "get", lambda found: found)
    return tmp_path / f"lamina-{os.getuid()}"


def shelf(*given: Path) -> Any:
    actual = Shelf(given)
    return SimpleNamespace(listing=SimpleNamespace(remote=actual.listing), read=SimpleNamespace(remote=actual.read))


def held(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("links-"))


def test_a_copy_is_shared_and_goes_with_the_last(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.runtime.ray.shelf.PIECE", 7)  # so that files come in pieces
    given = shelf(scale(tmp_path / "models"))
    one, other = Copies(given), Copies(given)
    one.refresh()
    other.refresh()
    assert len(held(root)) == 1
    with Session(one.folder / "scale" / "1") as session:
        assert session(x=np.ones((1, 3), np.float32))["y"].tolist() == [[2, 2, 2]]
    one.close()
    assert len(held(root)) == 1
    other.close()
    assert [path for path in root.iterdir() if path.is_dir()] == []


def test_what_changes_is_exchanged_and_what_is_damaged_is_not(root: Path, tmp_path: Path) -> None:
    bundle = scale(tmp_path / "models")
    copies = Copies(shelf(tmp_path / "models"))
    copies.refresh()
    link = copies.folder / "scale" / "1"
    first = link.resolve()
    handmade.write(bundle, model="another")
    copies.refresh()
    assert link.resolve() != first
    assert held(root) == [link.resolve().name]
    second = link.resolve()
    handmade.write(bundle, model="third")
    (bundle / "model.onnx").write_bytes(b"x" * (bundle / "model.onnx").stat().st_size)
    with pytest.raises(BundleError, match="does not have the SHA-256"):
        copies.refresh()
    assert link.resolve() == second
    handmade.write(tmp_path / "models" / "more", model="more")
    handmade.write(bundle, model="fourth")
    copies.refresh()
    assert json.loads((link / "manifest.json").read_text())["model"] == "fourth"
    assert sorted(path.name for path in copies.folder.iterdir()) == ["more", "scale"]
    copies.close()


def test_what_an_ended_process_left_goes(root: Path, tmp_path: Path) -> None:
    digest = "0" * 64
    for name in (digest, f"{digest}.partial", "links-gone"):
        (root / name).mkdir(parents=True, mode=0o700)
    root.chmod(0o700)
    (root / f"{digest}.lock").touch()
    copies = Copies(shelf(scale(tmp_path / "models")))
    copies.refresh()
    assert not {digest, f"{digest}.partial", "links-gone"} & {path.name for path in root.iterdir()}
    copies.close()


def test_a_folder_that_others_may_enter_is_refused(root: Path, tmp_path: Path) -> None:
    root.mkdir()
    root.chmod(0o755)
    with pytest.raises(BundleError, match="only this user may enter"):
        Copies(shelf(scale(tmp_path / "models")))


def test_a_damaged_bundle_is_told_before_it_is_copied(tmp_path: Path) -> None:
    bundle = scale(tmp_path)
    (bundle / "model.onnx").write_bytes(b"x" * (bundle / "model.onnx").stat().st_size)
    with pytest.raises(BundleError, match="does not have the SHA-256"):
        checked_places([bundle])
    (tmp_path / "none").mkdir()
    with pytest.raises(BundleError, match="there is no bundle in"):
        checked_places([tmp_path / "none"])


def test_a_bundle_that_does_not_open_is_told(root: Path, tmp_path: Path) -> None:
    given = shelf(scale(tmp_path / "models"))
    assert _problems(given, "auto") == []
    said = "the bundle holds onnx, nothing for the backend tensorrt; compile the spec with --target tensorrt"
    assert _problems(given, "tensorrt") == [f"scale, version 1: {said}"]
