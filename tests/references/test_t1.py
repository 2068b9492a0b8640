"""T1 gives the function, or its spectrum for a loss that is taken there: one thing, at any size, with or without high modes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fill import Draw, fill
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPECS = Path(__file__).parents[2] / "specs" / "operator"
Array = np.ndarray[Any, Any]


def cosines(size: int) -> Array:
    """The orthonormal transform of type 2, [frequency, place]."""
    waves = np.cos(np.pi / size * np.outer(np.arange(size), np.arange(size) + 0.5)) * np.sqrt(2 / size)
    return waves / np.where(np.arange(size) == 0, np.sqrt(2), 1)[:, None]


@pytest.mark.parametrize("keep_high", ["false", "true"])
@pytest.mark.parametrize(("name", "sizes"), [("t1_1d", [(16,), (45,), (128,)]), ("t1_2d", [(64, 64), (64, 75), (81, 70)])])
def test_the_spectrum_is_that_of_the_function(name: str, sizes: list[tuple[int, ...]], keep_high: str, tmp_path: Path) -> None:
    specs = {
        inverse: lamina.load(SPECS / f"{name}.yaml", small=True, inverse=inverse, keep_high=keep_high) for inverse in ("true", "false")
    }
    state = {p.name: fill(p.name, tuple(map(int, p.shape))) for p in elaborate(specs["true"]).graph.parameters()}
    save_file(state, tmp_path / "weights.safetensors")
    function, spectrum = (
        lamina.Session(lamina.compile(spec, tmp_path / inverse, weights=tmp_path / "weights.safetensors"))
        for inverse, spec in specs.items()
    )
    for shape in sizes:
        field = Draw((2, 1, *shape)).array("field")
        want: Array = function(field=field)["solution"].astype(np.float64)
        for axis, size in enumerate(shape):
            want = np.moveaxis(np.tensordot(cosines(size), want, (1, axis + 2)), 0, axis + 2)
        found = spectrum(field=field)["solution"]
        np.testing.assert_allclose(found, want, atol=2e-5 * np.abs(want).max())
        high = found[:, :, 5:]
        assert bool(high.any()) == (keep_high == "true")


def test_a_rectangle_of_modes_in_closed_form() -> None:
    """5 along one side and 3 along the other (the authors know squares only): layers and head in NumPy and float64."""
    spec = lamina.load(SPECS / "t1_2d.yaml", small=True, modes=[5, 3])
    state = {p.name: fill(p.name, tuple(map(int, p.shape))) for p in elaborate(spec).graph.parameters()}
    module = lamina.to_torch(spec).eval()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    field = Draw((2, 1, 12, 9)).array("field")
    with torch.no_grad():
        found: Array = module(torch.from_numpy(field)).numpy()
    w = {k: v.astype(np.float64) for k, v in state.items()}
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 12), np.linspace(0, 1, 9), indexing="ij"))
    x = np.concatenate([field, np.broadcast_to(grid, (2, 2, 12, 9))], axis=1)
    x = np.einsum("nixy,oi->noxy", x, w["lift.weight"]) + w["lift.bias"][:, None, None]
    x = np.einsum("ncxy,ux,vy->ncuv", x, cosines(12), cosines(9))[:, :, :5, :3]
    for i in range(2):
        layer = f"layers.{i}.mix"
        z = np.einsum("nixy,ioxy->noxy", x, w[f"{layer}.channels"])
        z = z * (1 + np.vectorize(math.erf)(z / math.sqrt(2))) / 2
        x = x + np.einsum("ncxy,xuc,yvc->ncuv", z, w[f"{layer}.rows"], w[f"{layer}.columns"])
    want = np.einsum("nhxy,ho->noxy", np.sin(np.einsum("nixy,ih->nhxy", x, w["fc1"])), w["fc2"])
    np.testing.assert_allclose(found[:, :, :5, :3], want, atol=1e-5 * np.abs(want).max())
    assert not found[:, :, 5:].any()
    assert not found[:, :, :, 3:].any()


@pytest.mark.parametrize(("name", "modes", "resolution"), [("t1_1d", 16, 1024), ("t1_2d", [24, 12], [64, 64])])
def test_weights_start_so_that_a_layer_keeps_the_variance(name: str, modes: int | list[int], resolution: int | list[int]) -> None:
    """The paper's rule for channels, sqrt(N / (m fan_in)): N points have one m-th of their variance in the m modes that are kept."""
    module = lamina.to_torch(lamina.load(SPECS / f"{name}.yaml", modes=modes, layers=1, resolution=resolution))
    points = np.prod(resolution)
    channels = module.get_parameter("layers.0.mix.channels").detach()
    kept = math.prod(channels.shape[2:])
    assert abs(float(channels.std()) / (points / (kept * channels.shape[0])) ** 0.5 - 1) < 0.01
    across = [p.detach() for k, p in module.named_parameters() if k.rsplit(".")[-1] in ("modes", "rows", "columns")]
    assert across
    assert all(abs(float(p.std()) * p.shape[0] ** 0.5 - 1) < 0.02 for p in across)
