"""How near a target comes to the definition on a user's own inputs: `lamina verify --inputs`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import lamina
from lamina.runtime import InputError, Session
from lamina.verify import verify

SPEC = """
lamina: 1
model: m
inputs: {x: "float32[N, 48]"}
dims: {N: {min: 1, opt: 4, max: 16}}
body:
  - {linear: 64, name: up}
  - h = gelu(x)
  - logits = linear(h, 48, name='head')
outputs: {logits: "float32[N, 48]", h: "float32[N, 64]"}
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "m.yaml").write_text(SPEC)
    rng = np.random.default_rng(1)
    shapes = {"up.weight": (64, 48), "up.bias": (64,), "head.weight": (48, 64), "head.bias": (48,)}
    save_file({name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}, tmp_path / "w.safetensors")
    np.savez(tmp_path / "x.npz", x=rng.standard_normal((40, 48), np.float32))
    return lamina.compile(lamina.load(tmp_path / "m.yaml"), tmp_path / "b", weights=tmp_path / "w.safetensors", precision="int8-dynamic")


def test_figures_are_those_of_the_outputs(bundle: Path, tmp_path: Path) -> None:
    """In calls of 16 rows, as `read_batches` cuts them: rounding depends on what a call holds."""
    report = verify(bundle, tmp_path / "w.safetensors", inputs=[tmp_path / "x.npz"])
    assert report.passed
    found = {(a.target, a.output): a for a in report.accuracy}
    assert list(found) == [(t, o) for t in ("onnx", "onnxruntime") for o in ("logits", "h")]
    x = np.load(tmp_path / "x.npz")["x"]
    for name, rounded in ((name, found["onnxruntime", name]) for name in ("logits", "h")):
        got, want = (
            np.concatenate([Session(bundle, backend=b)(x=x[i : i + 16])[name] for i in (0, 16, 32)]).astype(np.float64)  # type: ignore[arg-type]
            for b in ("onnxruntime", "onnx")
        )
        cosines = (got * want).sum(1) / np.sqrt(np.square(got).sum(1) * np.square(want).sum(1))
        assert rounded.samples == 40
        assert rounded.error == pytest.approx(np.sqrt(np.square(got - want).sum() / np.square(want).sum()), rel=1e-3)
        assert 1e-3 < rounded.error < 0.1
        assert (rounded.cosine, rounded.least_cosine) == (pytest.approx(cosines.mean(), abs=1e-6), pytest.approx(cosines.min(), abs=1e-6))
        assert rounded.agreement == ((got.argmax(1) == want.argmax(1)).mean() if name == "logits" else None)
        assert found["onnx", name].error < 1e-6


def test_inputs_that_do_not_fit(bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "odd.npz", x=np.zeros((2, 3), np.float32))
    with pytest.raises(InputError, match="`x` has shape"):
        verify(bundle, tmp_path / "w.safetensors", inputs=[tmp_path / "odd.npz"])
