"""Bundles of earlier compilers (old_bundles/make.py wrote them) still run, and one that cannot be read is refused with what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina.runtime.errors import BundleError
from lamina.runtime.manifest import read_manifest
from lamina.verify import verify

OLD = sorted(path.parent for path in (Path(__file__).parent / "old_bundles").glob("*/manifest.json"))


@pytest.mark.parametrize("bundle", OLD, ids=lambda path: path.name)
def test_a_bundle_of_an_earlier_compiler_computes_what_its_spec_says(bundle: Path) -> None:
    report = verify(bundle)
    assert report.passed
    assert {c.target for c in report.comparisons} == read_manifest(bundle).targets.built().keys()


def test_there_is_one_of_every_form() -> None:
    """The newest is what is written today. Where this fails, a manifest can say something more: keep a bundle of the commit before."""
    found = [bundle.name for bundle in OLD if (bundle / "manifest.json").read_text() == read_manifest(bundle).dump()]
    assert found == ["that_may_be_tuned"]


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    bundle: Path = shutil.copytree(OLD[0], folder / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return bundle


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda m: m.update(lamina=2, signature="ab"), "has format 2 and this lamina reads up to 1; upgrade lamina, or compile"),
        (lambda m: m.update(signature="ab"), "is not valid; compile"),
        (lambda m: m.pop("weights"), "is not valid; compile"),
        (lambda m: m["targets"]["onnx"].update(opset="24"), "is not valid; compile"),
    ],
    ids=["newer", "with a key that is not known", "without one that is needed", "with one of another type"],
)
def test_one_that_cannot_be_read_is_refused_with_what_to_do(change: Callable[[dict[str, Any]], object], what: str, tmp_path: Path) -> None:
    bundle = changed(tmp_path, change)
    with pytest.raises(BundleError) as caught:
        lamina.Session(bundle)
    again = f"`lamina compile {bundle / 'spec.yaml'} -o DIR`"
    assert what in str(caught.value)
    assert again in str(caught.value)


def test_buffers_grow_by_what_an_input_tells(tmp_path: Path) -> None:
    bundle: Path = shutil.copytree(Path(__file__).parent / "old_bundles" / "with_what_others_leave", tmp_path / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["inputs"][0]["shape"] = ["N", "2 * T", 4]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"the state `.*` grows from P to .*, and no input has the size T"):
        lamina.Session(bundle)
