"""Orchid's convolution commutes with shifts of the text, for its kernel, though made of the text, does not change with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fill import Draw, fill
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.runtime import InputError

SPEC = Path(__file__).parents[2] / "specs" / "sequence" / "orchid.yaml"
Array = np.ndarray[Any, Any]


def session(folder: Path, variant: str, **config: str) -> lamina.Session:
    """Without the first bias, so that what is zero in the text stays so up to the kernel's own convolutions."""
    spec = lamina.load(SPEC, variant, small=True, **config)
    state = {p.name: fill(p.name, tuple(map(int, p.shape))) for p in elaborate(spec).graph.parameters()}
    save_file(state | {"in.bias": np.zeros_like(state["in.bias"])}, folder / "weights.safetensors")
    return lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "weights.safetensors"))


def change(layer: lamina.Session, length: int, shift: int) -> float:
    """How far a shift of the text, away from its ends, is from a shift of the result."""
    text = np.zeros((2, length, 6), np.float32)
    text[:, 5 : length - 10] = Draw((2, length - 15, 6)).array("tokens")
    result: Array = layer(tokens=text)["mixed"]
    moved: Array = layer(tokens=np.roll(text, shift, 1))["mixed"]
    return float(np.abs(moved - np.roll(result, shift, 1)).max() / np.abs(result).max())


@pytest.mark.parametrize("kernel", ["magnitude", "correlation"])
def test_a_shift_of_the_text_shifts_the_result(kernel: str, tmp_path: Path) -> None:
    layer = session(tmp_path, kernel)
    assert max(change(layer, length, shift) for length, shift in ((24, 3), (31, -2), (128, 7))) < 1e-5


@pytest.mark.parametrize("variant", ["magnitude_padded", "magnitude_dct"])
def test_a_padded_text_and_cosines_know_where_they_are(variant: str, tmp_path: Path) -> None:
    assert change(session(tmp_path, variant), 24, 3) > 1e-3


@pytest.mark.parametrize("kernel", ["magnitude", "correlation"])
def test_a_convolution_around_the_end_makes_any_shift_an_equal_kernel(kernel: str, tmp_path: Path) -> None:
    """Only the short causal convolution, here of one tap, and the edges of the kernel's would see where the text begins."""
    layer = session(tmp_path, kernel, edges="circular", short="1")
    for length, shift in ((2, 1), (19, 8), (128, 64)):
        text = Draw((2, length, 6)).array("tokens")
        result = layer(tokens=text)["mixed"]
        np.testing.assert_allclose(layer(tokens=np.roll(text, shift, 1))["mixed"], np.roll(result, shift, 1), rtol=1e-4, atol=1e-5)
        alone = layer(tokens=text * np.float32([[[1]], [[2]]]))["mixed"]
        np.testing.assert_allclose(alone[0], result[0], rtol=1e-4, atol=1e-5)  # each text has its own kernel
        assert np.abs(alone[1] - 2 * result[1]).max() > 1e-2  # which makes the layer nonlinear


@pytest.mark.parametrize(("variant", "features"), [("magnitude", 3), ("example", 33)])
def test_places_start_as_waves(variant: str, features: int) -> None:
    start = lamina.to_torch(lamina.load(SPEC, variant)).get_parameter("fixed_conv.kernel.places").detach().numpy()[0]
    bands = (features - 1) // 2
    waves = np.exp(-2j * np.pi * np.outer(np.arange(128) / 128, np.linspace(1e-4, bands - 1, bands)))
    np.testing.assert_allclose(start, np.hstack([np.linspace(0, 1, 128)[:, None], waves.real, waves.imag]), atol=1e-6)


@pytest.mark.parametrize("length", [40, 300])
def test_a_text_is_as_long_as_the_length_allows(length: int, tmp_path: Path) -> None:
    layer = session(tmp_path, "magnitude", length=str(length))
    for size in (2, length):
        assert np.isfinite(layer(tokens=Draw((1, size, 6)).array("tokens"))["mixed"]).all()
    with pytest.raises(InputError, match=f"{length}"):
        layer(tokens=Draw((1, length + 1, 6)).array("tokens"))


def test_fixed_places_are_those_that_learnt_ones_start_from(tmp_path: Path) -> None:
    """And have no bound but the memory's."""
    learnt, fixed = (
        lamina.Session(lamina.compile(lamina.load(SPEC, "example", fixed=fixed, cosines=False), tmp_path / str(fixed)))
        for fixed in (False, True)
    )
    tokens = Draw((2, 50, 8)).array("tokens")
    np.testing.assert_allclose(fixed(tokens=tokens)["mixed"], learnt(tokens=tokens)["mixed"], rtol=1e-5, atol=1e-6)
    long = lamina.Session(lamina.compile(lamina.load(SPEC, small=True, length=32768, fixed=True, variant="magnitude"), tmp_path / "long"))
    assert long(tokens=np.ones((1, 9, 6), np.float32))["mixed"].shape == (1, 9, 6)
