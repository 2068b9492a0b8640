"""Attention along the columns alone, each place seeing those above it, against PyTorch's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from evidence import Record

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "layer" / "axial_attention.yaml"


def test_causal_columns(tmp_path: Path, record: Record) -> None:
    spec = lamina.load(SPEC, "causal_columns", small=True)
    weights = {name.split("layer.")[1]: w.double() for name, w in lamina.to_torch(spec).state_dict().items()}
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle"))
    worst = 0.0
    for n, h, w in ((1, 1, 3), (2, 5, 4), (1, 7, 2)):
        image = np.random.default_rng(h).standard_normal((n, 8, h, w)).astype(np.float32)
        columns = torch.from_numpy(image).double().permute(0, 3, 2, 1).reshape(n * w, h, 8)
        q, k, v = columns @ weights["to_q.weight"].T, *(columns @ weights["to_kv.weight"].T).chunk(2, -1)
        q, k, v = (t.reshape(n * w, h, 2, 4).transpose(1, 2) for t in (q, k, v))
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n * w, h, 8)
        y = (y @ weights["to_out.weight"].T + weights["to_out.bias"]).reshape(n, w, h, 8).permute(0, 3, 2, 1).numpy()
        worst = max(worst, float(np.abs(session(image=image)["mixed_image"] - y).max() / np.abs(y).max()))
    assert worst < 1e-5
    record(SPEC, "causal_columns", "parity", f"{worst:.0e} of PyTorch's attention, small")
