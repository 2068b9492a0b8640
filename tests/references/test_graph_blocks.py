"""The blocks over groups of rows, held to loops over the groups: empty ones, and scores that no exponential holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import lamina

SPEC = """
lamina: 1
model: groups
use: [graph]
inputs: {x: "float32[n, 3]", segment: "int64[n]", of: "float32[count, 1]"}
dims: {n: {min: 1, opt: 8, max: 64}, count: {min: 1, opt: 4, max: 16}}
body:
  - mean = segment_mean(x, segment, count)
  - share = segment_softmax(x, segment, count)
  - largest = segment_max(x, segment, count) + 0 * of
outputs: {mean: "float32[count, 3]", share: "float32[n, 3]", largest: "float32[count, 3]"}
"""


def test_groups(tmp_path: Path) -> None:
    (tmp_path / "groups.yaml").write_text(SPEC)
    session = lamina.Session(lamina.compile(lamina.load(tmp_path / "groups.yaml"), tmp_path / "bundle"))
    rng = np.random.default_rng(0)
    for n, count in ((1, 1), (9, 4), (30, 16)):
        x = (rng.standard_normal((n, 3)) * [1, 30, 1000]).astype(np.float32)
        segment = rng.integers(0, max(count - 2, 1), n)  # the last two are empty
        got = session(x=x, segment=segment, of=np.zeros((count, 1), np.float32))
        for c in range(count):
            rows = x[segment == c].astype(np.float64)
            if not len(rows):
                assert not got["mean"][c].any()
                assert not got["largest"][c].any()
                continue
            e = np.exp(rows - rows.max(0))
            np.testing.assert_allclose(got["share"][segment == c], e / e.sum(0), atol=1e-5)
            np.testing.assert_allclose(got["mean"][c], rows.mean(0), rtol=1e-5, atol=1e-3)
            np.testing.assert_array_equal(got["largest"][c], rows.max(0).astype(np.float32))
