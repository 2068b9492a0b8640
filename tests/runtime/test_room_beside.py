"""A dim whose largest size is what another leaves for it: what runs a bundle holds to that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lamina
from lamina.runtime.errors import BundleError, InputError
from lamina.runtime.manifest import Manifest, read_manifest
from lamina.runtime.samples import chosen_dims, sample_inputs
from lamina.verify import sample_points, verify

SPEC = """\
lamina: 1
model: places
inputs: {ids: "int64[N, T]"}
dims:
  N: {min: 1, opt: 1, max: 4}
  T: {min: 1, opt: 6, max: 8}
  P: {min: 0, opt: 6, max: 8 - T}
state: {seen: "float32[N, P, 2]"}
body:
  - y = embedding(ids, 9, 2, name='words') + embedding(arange(P, P + T), 8, 2, name='places')
  - seen = concat([seen, y], dim=1)
  - total = sum(seen, dims=1)
outputs: {total: "float32[N, 2]"}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("room")
    (folder / "places.yaml").write_text(SPEC, encoding="utf-8")
    return lamina.compile(lamina.load(folder / "places.yaml"), folder / "bundle")


def test_a_stream_ends_where_no_room_is_left(bundle: Path) -> None:
    with lamina.Session(bundle) as session:
        stream = session.stream()
        for _ in range(2):
            stream(ids=np.zeros((1, 3), np.int64))
        with pytest.raises(InputError, match=r"^P = 6 beside T = 3, and P must be at most -T \+ 8, 5 here$"):
            stream(ids=np.zeros((1, 3), np.int64))
        whole = session(ids=np.zeros((1, 8), np.int64))["total"]
        pieces = session.stream()
        pieces(ids=np.zeros((1, 5), np.int64))
        np.testing.assert_allclose(pieces(ids=np.zeros((1, 3), np.int64))["total"], whole, rtol=1e-6)


def test_samples_fit(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert (manifest.dims["P"].opt, manifest.dims["P"].max) == (2, 7)
    assert chosen_dims(manifest, {"T": 8}) == {"N": 1, "T": 8, "P": 0}
    assert all(point["P"] + point["T"] <= 8 for point in sample_points(manifest))
    assert sample_inputs(manifest, {"T": 2, "P": 6})["past.seen"].shape == (1, 6, 2)
    with pytest.raises(InputError, match="P = 5 beside T = 4"):
        sample_inputs(manifest, {"T": 4, "P": 5})


def test_a_manifest_with_a_strange_size_is_refused(bundle: Path) -> None:
    data = read_manifest(bundle).model_dump()
    for text, message in (
        ("8 - X", "`P` is at most 8 - X, and X is not in dims"),
        ("8 -", "`8 -` is not a size"),
        ("8 // (T - 1)", r"`P` is at most 8 // \(T - 1\), which divides by a dim"),
    ):
        data["dims"]["P"]["at_most"] = text
        with pytest.raises((ValueError, BundleError), match=message):
            Manifest.model_validate(data)


def test_the_bundle_is_verified(bundle: Path) -> None:
    assert verify(bundle).passed
