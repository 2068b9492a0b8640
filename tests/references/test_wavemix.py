"""The wavelet transform of WaveMix: orthonormal, with the authors' order of bands, which a package of wavelets agrees with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import lamina

SPEC = """\
lamina: 1
model: transform
use: [wavelets]
inputs: {x: "float32[N, 3, H, W]"}
dims: {N: {max: 8}, H: {max: 64, multiple_of: 2}, W: {max: 64, multiple_of: 2}}
body:
  - low, high = haar(x)
outputs: {low: "float32[N, 3, H // 2, W // 2]", high: "float32[N, 9, H // 2, W // 2]"}
"""
# pywt.dwt2([[1, 2], [4, 8]], "haar") of PyWavelets 1.8: the average, then the differences of rows, of columns, and of both
BLOCK, AVERAGE, DIFFERENCES = [[1.0, 2.0], [4.0, 8.0]], 7.5, [-4.5, -2.5, 1.5]


def test_haar(tmp_path: Path) -> None:
    (tmp_path / "transform.yaml").write_text(SPEC)
    module = lamina.to_torch(lamina.load(tmp_path / "transform.yaml"))
    for shape in ((1, 3, 2, 2), (2, 3, 6, 4), (1, 3, 8, 14)):
        x = torch.randn(shape)
        found = module(x)
        energy = found["low"].square().sum() + found["high"].square().sum()
        torch.testing.assert_close(energy, x.square().sum())
        blocks = x.unfold(2, 2, 2).unfold(3, 2, 2)
        torch.testing.assert_close(found["low"], blocks.mean((-1, -2)) * 2)
    x = torch.tensor(BLOCK) * torch.tensor([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1)
    found = module(x)
    np.testing.assert_allclose(found["low"].flatten(), [AVERAGE, 10 * AVERAGE, 100 * AVERAGE], rtol=1e-6)
    np.testing.assert_allclose(found["high"].flatten(), np.outer([1, 10, 100], DIFFERENCES).flatten(), rtol=1e-6)
