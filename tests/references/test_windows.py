"""Windows of images, cut by hand; and the offsets between the positions of a window, subtracted one by one."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import torch

import lamina

SPEC = """\
lamina: 1
model: cut
use: [windows]
inputs: {x: "float32[N, H, W, 2]"}
dims: {N: {max: 8}, H: {max: 64, multiple_of: 2}, W: {max: 60, multiple_of: 3}}
body:
  - cut = windows(x, 2, 3)
  - whole = from_windows(cut, 2, 3, shape(x)[1] // 2, shape(x)[2] // 3)
  - between = gather(offsets(2, 3), offset_index(2, 3))
outputs:
  cut: float32[N, H // 2 * (W // 3), 6, 2]
  whole: float32[N, H, W, 2]
  between: float32[6, 6, 2]
"""


def test_windows_and_offsets(tmp_path: Path) -> None:
    (tmp_path / "cut.yaml").write_text(SPEC)
    module = lamina.to_torch(lamina.load(tmp_path / "cut.yaml"))
    for n, h, w in ((1, 2, 3), (2, 6, 3), (1, 4, 12)):
        x = torch.randn(n, h, w, 2)
        found = module(x)
        windows = [x[:, i : i + 2, j : j + 3].reshape(n, 6, 2) for i, j in product(range(0, h, 2), range(0, w, 3))]
        assert torch.equal(found["cut"], torch.stack(windows, 1))
        assert torch.equal(found["whole"], x)
    places = np.array(list(product(range(2), range(3))))
    np.testing.assert_array_equal(found["between"], places[:, None] - places[None])
