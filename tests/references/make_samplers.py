"""What the schedulers of diffusers make of a denoiser that is three lines long. Needs `pip install torch diffusers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import torch
from cases import EXPECTED
from samplers import CASES, SEED, SHAPE

from lamina.runtime.sampling.options import Sampling

PREDICTIONS = {"noise": "epsilon", "sample": "sample", "v": "v_prediction"}
SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
VARIANCES = {"small": "fixed_small", "large": "fixed_large"}


def denoised(x: torch.Tensor, time: float) -> torch.Tensor:
    """As the spec in `samplers.py`."""
    return torch.tanh(0.6 * x + 0.1 * np.cos(time) * torch.ones_like(x))


def scheduler(options: Sampling) -> Any:
    if options.method == "flow":
        return diffusers.FlowMatchEulerDiscreteScheduler()
    common = {
        "num_train_timesteps": options.train_steps,
        "beta_start": 0.1 / options.train_steps,
        "beta_end": 20 / options.train_steps,
        "beta_schedule": SCHEDULES[options.schedule],
        "timestep_spacing": "linspace",
        "prediction_type": PREDICTIONS[options.predicts],
        "clip_sample": options.clip is not None,
        "clip_sample_range": options.clip or 1.0,
    }
    if options.method == "ddpm":
        return diffusers.DDPMScheduler(**common, variance_type=VARIANCES[options.variance])
    return diffusers.DDIMScheduler(**common, set_alpha_to_one=True)


def sampled(options: Sampling, draw: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Their loop, from the noise that our sampler draws."""
    walk, x = scheduler(options), draw()
    if options.method == "flow":
        walk.set_timesteps(sigmas=np.linspace(1, 1 / options.steps, options.steps))
    else:
        walk.set_timesteps(options.steps)
    for time in walk.timesteps:
        at = float(time) / (1000 if options.method == "flow" else 1)
        more: dict[str, Any] = {"eta": options.eta, "use_clipped_model_output": True} if options.method == "ddim" else {}
        if options.method == "ddim" and options.eta:
            more["variance_noise"] = draw()
        if options.method == "ddpm":
            walk.step.__func__.__globals__["randn_tensor"] = lambda *_, **__: draw()
        x = walk.step(denoised(x, at), time, x, **more).prev_sample
    return x


def streams() -> Callable[[], torch.Tensor]:
    drawn = [np.random.default_rng([SEED, i]) for i in range(SHAPE[0])]
    return lambda: torch.from_numpy(np.stack([stream.standard_normal(SHAPE[1:], np.float32) for stream in drawn]))


if __name__ == "__main__":
    found = {name: sampled(Sampling(**options), streams()).numpy() for name, options in CASES.items()}
    np.savez_compressed(EXPECTED / "samplers.npz", **found)
    print({name: round(float(np.abs(array).max()), 3) for name, array in found.items()})
