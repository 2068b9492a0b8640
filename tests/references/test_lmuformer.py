"""The memory in parallel and step by step, what it remembers, and the logits of every prefix of a sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cases import references
from fill import uniform
from numpy.polynomial import legendre
from safetensors.numpy import save_file

import lamina
from lamina.runtime import Session

SPEC = Path(__file__).parents[2] / "specs" / "sequence" / "lmuformer.yaml"
MEMORY = """\
lamina: 1
model: memory
use: [state_space]
inputs: {u: "float32[N, T]"}
dims: {N: {min: 1, opt: 1, max: 4}, T: {min: 1, opt: 64, max: 256}}
body:
  - a, b = legendre_memory(12, 64)
  - a, b = zero_order_hold(a, b)
  - causal_convolution(u, cast(impulse_response(a, b, 256), 'float32'))
outputs: {m: "float32[N, T, 12]"}
"""


@pytest.mark.parametrize("task", ["speech_commands", "psmnist"])
def test_one_compiled_file_gives_what_the_recurrence_gives_at_any_length(task: str, tmp_path: Path) -> None:
    sessions = [
        lamina.Session(lamina.compile(lamina.load(SPEC, variant=v, small=True, **config), tmp_path / v))
        for v, config in ((task, {"longest": 40}), (f"{task}_recurrent", {}))
    ]
    for steps in (1, 9, 40):
        spectrogram = uniform("spectrogram", (3, steps, 6))
        parallel, recurrent = (session(spectrogram=spectrogram) for session in sessions)
        np.testing.assert_allclose(parallel["logits"], recurrent["logits"], atol=1e-6)
        np.testing.assert_allclose(recurrent["steps"][:, -1], recurrent["logits"], atol=1e-6)
    assert np.isfinite(sessions[1](spectrogram=np.ones((1, 900, 6), np.float32))["logits"]).all()  # it has no kernels to be longer than


def test_after_a_step_only_the_look_ahead_of_the_convolutions_matters(tmp_path: Path) -> None:
    """Five convolutions over three steps each see five steps ahead, and nothing else looks forward."""
    session = lamina.Session(lamina.compile(lamina.load(SPEC, variant="speech_commands_recurrent", small=True), tmp_path / "bundle"))
    spectrogram = uniform("spectrogram", (1, 20, 6))
    before = session(spectrogram=spectrogram)["steps"]
    spectrogram[:, 12:] += 1
    changed = np.abs(session(spectrogram=spectrogram)["steps"] - before).max(axis=(0, 2)) > 1e-6
    assert changed.tolist() == [step >= 12 - 5 for step in range(20)]


@pytest.mark.parametrize("steps", [100, 200])
def test_the_memory_holds_the_window_as_legendre_coefficients(tmp_path: Path, steps: int) -> None:
    """What they say of the signal `ago` steps back is close to what it was: a slow one is well within reach of 12 of them."""
    (tmp_path / "memory.yaml").write_text(MEMORY)
    session = lamina.Session(lamina.compile(lamina.load(tmp_path / "memory.yaml"), tmp_path / "bundle"))
    signal = np.sin(np.arange(steps) / 11).astype(np.float32)
    coefficients = session(u=signal[None])["m"][0, -1]
    ago = np.arange(4, 60)
    recalled = legendre.legval(2 * (ago + 0.5) / 64 - 1, coefficients)
    np.testing.assert_allclose(recalled, signal[steps - 1 - ago], atol=0.03)


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("speech_commands_streaming_narrow", "onnxruntime"),
        ("speech_commands_streaming_narrow", "torch"),
        ("spiking_streaming_narrow", "onnxruntime"),
        pytest.param("spiking_streaming_narrow", "torch", marks=pytest.mark.sweep),  # torch.export takes half a minute for its loops
    ],
)
def test_a_stream_gives_what_the_authors_network_gives_of_the_whole(name: str, backend: str, tmp_path: Path) -> None:
    """Steps come one by one and by the dozen; spikes are many there."""
    case = next(case for case in references() if case.name == name)
    save_file({k: np.ascontiguousarray(v) for k, v in case.checkpoint().items()}, tmp_path / "weights.safetensors")
    spec = lamina.load(SPEC, variant=case.variant, **case.config)
    bundle = lamina.compile(spec, tmp_path / "bundle", targets=[backend], weights=tmp_path / "weights.safetensors")
    spectrogram, want = case.inputs()[0]["spectrogram"], case.outputs()[0]
    stream = Session(bundle, backend=backend).stream()  # type: ignore[arg-type]
    pieces = [stream(spectrogram=piece) for piece in np.split(spectrogram, [1, 2, 3, 20, 21, 90], axis=1)]
    np.testing.assert_allclose(np.concatenate([piece["steps"] for piece in pieces], axis=1), want["steps"], atol=1e-5)
    np.testing.assert_allclose(pieces[-1]["logits"], want["logits"], atol=1e-5)
    fired = [v for k, v in pieces[-1].items() if k.endswith("before") and k != "present.embed.layers.0.near.looking_back.before"]
    assert all(0.02 < v.mean() < 0.98 and set(np.unique(v)) == {0, 1} for v in fired) or "spiking" not in name
