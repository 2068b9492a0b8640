"""What `make_samplers.py` runs of diffusers and `tests/runtime/test_sampling.py` of ours: a denoiser without weights, and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SEED, SHAPE = 3, (2, 3, 4)
ALL = {"steps": 40, "train_steps": 40}  # of some, diffusers' DDIM does not step to the next one that it takes
SPEC = """\
lamina: 1
model: denoiser
inputs: {x: "float32[N, 3, 4]", time: "float32[N]"}
dims: {N: {min: 1, opt: 2, max: 64}}
body: ["tanh(0.6 * x + 0.1 * cos(time)[:, None, None])"]
outputs: {given: "float32[N, 3, 4]"}
"""
CASES: Mapping[str, Mapping[str, Any]] = {
    "ddpm_small": {"method": "ddpm", "steps": 7},
    "ddpm_large": {"method": "ddpm", "steps": 7, "variance": "large"},
    "ddpm_cosine_clipped": {"method": "ddpm", "steps": 7, "schedule": "cosine", "clip": 1.0},
    "ddpm_sample": {"method": "ddpm", "steps": 7, "predicts": "sample"},
    "ddpm_v": {"method": "ddpm", "steps": 7, "predicts": "v"},
    "ddim": {**ALL, "method": "ddim"},
    "ddim_eta_clipped": {**ALL, "method": "ddim", "eta": 0.7, "clip": 0.8},
    "ddim_cosine_v": {**ALL, "method": "ddim", "schedule": "cosine", "predicts": "v"},
    "ddim_sample": {**ALL, "method": "ddim", "predicts": "sample"},
    "flow": {"method": "flow", "steps": 7},
}
