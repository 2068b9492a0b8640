"""What each method makes of a sample in one step, from the noisiest to the cleanest. Pure functions of arrays and numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.sampling.options import Prediction, Schedule, Variance

Draw = Callable[[], Array]
_STEEPEST = 0.999  # of what one step of the cosine schedule may take away


def kept(schedule: Schedule, count: int) -> Array:
    """float64[count]: how much of the sample's power is left after each step of training, the cumulative product of 1 - beta."""
    if schedule == "linear":
        betas = np.linspace(0.1 / count, 20 / count, count)  # 1e-4 to 2e-2 for the thousand steps that these were chosen for
    else:
        power = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * math.pi / 2) ** 2
        betas = np.minimum(1 - power[1:] / power[:-1], _STEEPEST)
    return np.cumprod(1 - np.minimum(betas, 1))


def spaced(count: int, steps: int) -> list[int]:
    """The steps of training that are taken: evenly from the first to the last, rounded to the nearest, of two to the even one."""
    stride = (count - 1) / (steps - 1) if steps > 1 else 1
    return [round(stride * i) for i in range(steps)]


class Place:
    """A step between two amounts that are kept: `now` before it, and `after` it, 1 at the last."""

    def __init__(self, now: float, after: float) -> None:
        self.now, self.after = now, after

    @property
    def beta(self) -> float:
        """What of the power this step was given in noise."""
        return 1 - self.now / self.after

    @property
    def posterior(self) -> float:
        """The variance of the sample after the step, were the clean one known."""
        return self.beta * (1 - self.after) / (1 - self.now)

    def views(self, x: Array, given: Array, predicts: Prediction, clip: float | None) -> tuple[Array, Array]:
        """The clean sample and the noise that x, float32, is seen to be made of."""
        signal, spread = (np.float32(math.sqrt(part)) for part in (self.now, 1 - self.now))
        match predicts:
            case "noise":
                clean = x / signal - spread / signal * given
            case "sample":
                clean = given
            case "v":
                clean = signal * x - spread * given
        if clip is not None:
            clean = np.clip(clean, -np.float32(clip), np.float32(clip))
        return clean, (x - signal * clean) / spread


def ddpm(place: Place, x: Array, clean: Array, share: Array | Variance, draw: Draw) -> Array:
    """A draw from the posterior. `share`: from -1 to 1 where between the small and the large variance, in the logarithm, or which."""
    at_clean = place.beta * math.sqrt(place.after) / (1 - place.now)
    at_x = (1 - place.after) * math.sqrt(place.now / place.after) / (1 - place.now)
    mean = np.float32(at_clean) * clean + np.float32(at_x) * x
    if place.after == 1:
        return mean
    small, large = math.log(place.posterior), math.log(place.beta)
    if isinstance(share, str):
        return mean + np.float32(math.exp((small if share == "small" else large) / 2)) * draw()
    part = (share + 1) / np.float32(2)
    return mean + np.exp((part * np.float32(large) + (1 - part) * np.float32(small)) / 2) * draw()  # type: ignore[no-any-return]


def ddim(place: Place, clean: Array, noise: Array, eta: float, draw: Draw) -> Array:
    """On towards the clean sample along the noise, a part of which is drawn anew."""
    spread = eta * math.sqrt(place.posterior)
    x = np.float32(math.sqrt(place.after)) * clean + np.float32(math.sqrt(1 - place.after - spread**2)) * noise
    return x + np.float32(spread) * draw() if spread else x


def flow(x: Array, velocity: Array, steps: int) -> Array:
    """An Euler step of so many, back along the velocity, which leads from the sample to the noise."""
    return x - np.float32(1 / steps) * velocity
