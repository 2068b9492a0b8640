"""State: one declaration, and a model that can be run whole, in pieces, or row by row. The references are PyTorch's layers."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lamina
from lamina.runtime import BundleError, InputError, Session, generate
from lamina.runtime.bench import bench_decoding
from lamina.runtime.stream import Stream

ATTENTION = """
lamina: 1
model: decoder
inputs: {x: "float32[N, T, 16]"}
dims: {N: {min: 1, opt: 2, max: 4}, T: {min: 1, opt: 4, max: 16}, P: {min: 0, opt: 8, max: 64}}
blocks:
  attend:
    args: {past: size}
    state: {k: "float32[shape(x)[0], 2, past, 8]", v: "float32[shape(x)[0], 2, past, 8]"}
    body:
      - n, t = shape(x)[:2]
      - q, k_new, v_new = [permute(reshape(y, [n, t, 2, 8]), [0, 2, 1, 3]) for y in split(linear(x, 48, name='qkv'), 3)]
      - k = concat([k, k_new], dim=2)
      - v = concat([v, v_new], dim=2)
      - attention(q, k, v, causal=True)
      - reshape(permute(x, [0, 2, 1, 3]), [n, t, 16])
      - {linear: 16, name: out}
modules: {shared: {attend: P}}
body: [shared, shared]
outputs: {y: "float32[N, T, 16]"}
"""

LSTM = """
lamina: 1
model: recurrent
inputs: {x: "float32[N, T, 3]"}
dims: {N: {min: 1, opt: 2, max: 4}, T: {min: 1, opt: 4, max: 16}}
state: {h: "float32[N, 5]", c: "float32[N, 5]"}
modules: {cell: {lstm_cell: 5}}
body:
  - scan: {over: 1, values: {x_t: x}, carry: {h: h, c: c}, do: ["h, c = cell(x_t, h, c)"], collect: {y: h}}
outputs: {y: "float32[N, T, 5]"}
"""

LANGUAGE = """
lamina: 1
model: language
inputs: {ids: "int64[N, T]"}
dims: {N: {min: 1, opt: 1, max: 4}, T: {min: 1, opt: 4, max: 8}}
state: {h: "float32[N, 16]"}
modules: {cell: {gru_cell: 16}}
body:
  - u = embedding(ids, 11, 16)
  - scan: {over: 1, values: {x_t: u}, carry: {h: h}, do: ["h = cell(x_t, h)"], collect: {y: h}}
  - linear(y, 11)
outputs: {logits: "float32[N, T, 11]"}
"""

COUNTER = """
lamina: 1
model: counter
inputs: {x: "float32[N, T]"}
dims: {N: {min: 1, opt: 2, max: 4}, T: {min: 1, opt: 4, max: 16}}
state: {seen: {type: "int64[]", init: 7}, least: {type: "float32[N]", init: 100}}
body:
  - seen = seen + shape(x)[1]
  - least = minimum(least, min(x, dims=1))
  - least + cast(seen, 'float32')
outputs: {y: "float32[N]"}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compiles a text once, for all targets."""

    @cache
    def compiled(text: str) -> Path:
        folder = tmp_path_factory.mktemp("stream")
        spec = folder / "spec.yaml"
        spec.write_text(text)
        return lamina.compile(lamina.load(spec), folder / "bundle", targets=["onnx", "onnxruntime", "torch"])

    return compiled


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """The seeded weights, through the PyTorch module."""
    return {k: v.detach() for k, v in lamina.to_torch(lamina.load(folder.parent / "spec.yaml")).state_dict().items()}


def causal_attention(x: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """torch.nn.MultiheadAttention with the same weights and a causal mask."""
    layer = nn.MultiheadAttention(16, 2, batch_first=True)
    layer.load_state_dict(
        {
            "in_proj_weight": weights["shared.qkv.weight"],
            "in_proj_bias": weights["shared.qkv.bias"],
            "out_proj.weight": weights["shared.out.weight"],
            "out_proj.bias": weights["shared.out.bias"],
        }
    )
    mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    for _ in range(2):
        x = layer(x, x, x, attn_mask=mask)[0]
    return x.detach()


def lstm(x: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    layer = nn.LSTM(3, 5, batch_first=True)
    layer.load_state_dict({f"{k.removeprefix('cell.')}_l0": v for k, v in weights.items()})
    return layer(x)[0].detach()


@pytest.mark.parametrize("backend", ["onnx", "onnxruntime", "torch"])
@pytest.mark.parametrize("pieces", [[9], [1] * 9, [4, 1, 1, 3]], ids=str)
@pytest.mark.parametrize(("text", "width", "reference"), [(ATTENTION, 16, causal_attention), (LSTM, 3, lstm)], ids=["attention", "lstm"])
def test_pieces_give_what_the_whole_gives(
    bundle: Callable[[str], Path], text: str, width: int, reference: Callable[..., torch.Tensor], pieces: list[int], backend: Any
) -> None:
    folder = bundle(text)
    x = np.random.default_rng(0).standard_normal((2, 9, width), np.float32)
    stream = Session(folder, backend=backend).stream()
    got = [stream(x=part)["y"] for part in np.split(x, np.cumsum(pieces)[:-1], axis=1)]
    with torch.no_grad():
        np.testing.assert_allclose(np.concatenate(got, axis=1), reference(torch.from_numpy(x), tensors(folder)), atol=2e-6)


def test_each_call_of_a_module_has_a_state_of_its_own(bundle: Callable[[str], Path]) -> None:
    session = Session(bundle(ATTENTION))
    names = ["shared.k", "shared.v", "shared.k_2", "shared.v_2"]
    assert [state.name for state in session.manifest.states] == names
    found = session(x=np.ones((1, 3, 16), np.float32))
    assert list(found) == ["y", *(f"present.{name}" for name in names)]
    assert found["present.shared.k_2"].shape == (1, 2, 3, 8)


def test_states_start_where_the_spec_says(bundle: Callable[[str], Path]) -> None:
    stream = Session(bundle(COUNTER)).stream()
    np.testing.assert_array_equal(stream(x=np.array([[4, 9], [120, 130]], np.float32))["y"], [4 + 9, 100 + 9])
    np.testing.assert_array_equal(stream(x=np.array([[5], [3]], np.float32))["y"], [4 + 10, 3 + 10])
    np.testing.assert_array_equal(stream.past["past.least"], [4, 3])


def test_rows_can_change_places(bundle: Callable[[str], Path]) -> None:
    """What beam search does: row i goes on from what row rows[i] has seen."""
    session = Session(bundle(ATTENTION))
    x = np.random.default_rng(1).standard_normal((3, 5, 16), np.float32)
    stream = session.stream()
    stream(x=x[:, :4])
    stream.reorder([2, 0, 2, 1])
    got = stream(x=x[[2, 0, 2, 1], 4:])["y"]
    np.testing.assert_allclose(got, session(x=x)["y"][[2, 0, 2, 1], 4:], atol=1e-6)


def test_a_state_without_rows_cannot_be_reordered(bundle: Callable[[str], Path]) -> None:
    stream = Session(bundle(COUNTER)).stream()
    stream.reorder([1, 0])  # before the first call there is nothing to reorder
    stream(x=np.zeros((2, 1), np.float32))
    with pytest.raises(InputError, match=r"the state `seen: int64\[\]` has no axis N"):
        stream.reorder([1, 0])


def test_states_may_be_given(bundle: Callable[[str], Path]) -> None:
    session = Session(bundle(LSTM))
    x = np.random.default_rng(2).standard_normal((2, 6, 3), np.float32)
    half = session(x=x[:, :3])
    rest = session(x=x[:, 3:], **{"past.h": half["present.h"], "past.c": half["present.c"]})
    np.testing.assert_allclose(rest["y"], session(x=x)["y"][:, 3:], atol=1e-6)
    with pytest.raises(InputError, match=r"`past.h` has shape \[3, 5\], wanted float32\[N, 5\]: axis 0 is 3, but N is 2 in `x`"):
        session(x=x, **{"past.h": np.zeros((3, 5), np.float32)})


def test_a_full_cache_is_said(bundle: Callable[[str], Path]) -> None:
    stream = Session(bundle(ATTENTION)).stream()
    for _ in range(5):
        stream(x=np.zeros((1, 16, 16), np.float32))
    with pytest.raises(InputError, match="P is 80 after the calls so far, and must be 0 to 64"):
        stream(x=np.zeros((1, 1, 16), np.float32))


def test_decoding_is_timed(bundle: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock: a prompt of 12 is two calls (T is at most 8), each of which takes 50 ms here, as does every token."""
    session = Session(bundle(LANGUAGE))
    run = Stream.__call__
    monkeypatch.setattr(Stream, "__call__", lambda self, **inputs: (time.sleep(0.05), run(self, **inputs))[1])
    result = bench_decoding(session, prompt=12, tokens=3)
    assert 12 / 0.4 < result.prefill < 12 / 0.1
    assert 1 / 0.2 < result.decode < 1 / 0.05
    assert 20 < result.peak_mb < 50_000
    with pytest.raises(InputError, match="give at least 1 of each"):
        bench_decoding(session, prompt=0)


def test_text_is_generated_from_a_recurrent_model(bundle: Callable[[str], Path]) -> None:
    """Without a mask, prompts of one length together, of others one by one; the same tokens from the whole sequence at once."""
    session = Session(bundle(LANGUAGE))
    first, second = (list(found.ids) for found in generate(session, [[1, 2, 3], [4, 5, 6]], max_new_tokens=5))
    for prompt, ids in (([1, 2, 3], first), ([4, 5, 6], second)):
        sequence = list(prompt)
        for _ in range(5):
            logits = torch.from_numpy(session(ids=np.array([sequence]))["logits"])
            sequence.append(int(logits[0, -1].argmax()))
        assert sequence[3:] == ids
    with pytest.raises(InputError, match="the model takes no mask, so prompts of 1, 3 tokens cannot be read together"):
        generate(session, [[1], [4, 5, 6]], max_new_tokens=2)


def test_padding_sees_what_it_sees_without_room(tmp_path: Path) -> None:
    """A query that may see no key takes the mean of all, but not of the room behind them."""
    spec = lamina.load(Path(__file__).parents[2] / "specs" / "language" / "llama.yaml", small=True, every=True)
    folder = lamina.compile(spec, tmp_path / "bundle")
    ids, mask = np.random.default_rng(0).integers(0, 96, (2, 9)), np.ones((2, 9), np.int64)
    mask[1, :4] = 0
    found = []
    for backend in ("onnx", "onnxruntime"):
        stream = Session(folder, backend=backend).stream()  # type: ignore[arg-type]
        parts = [stream(input_ids=ids[:, a:b], attention_mask=mask[:, :b])["logits"] for a, b in ((0, 3), (3, 4), (4, 9))]
        found.append(np.concatenate(parts, axis=1))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5 * np.abs(found[0]).max())


def test_caches_are_not_copied_at_each_step(tmp_path: Path) -> None:
    spec = lamina.load(Path(__file__).parents[2] / "specs" / "language" / "llama.yaml", small=True, context=2400, layers=1)
    stream = Session(lamina.compile(spec, tmp_path / "bundle", targets=["onnxruntime"])).stream()
    buffers = set()
    for step in range(2000):
        stream(input_ids=np.full((1, 1), step % 96), attention_mask=np.ones((1, step + 1), np.int64))
        buffers.add(stream._carrier._past["past.layers.0.self_attn.kv_cache.keys"].ctypes.data)  # type: ignore[attr-defined]
    assert len(buffers) < 20
    assert stream.sizes["P"] == 2000


def test_a_model_without_states_has_no_stream(bundle: Callable[[str], Path]) -> None:
    folder = bundle('lamina: 1\nmodel: m\ninputs: {x: "float32[4]"}\nbody: [relu]\noutputs: {y: "float32[4]"}\n')
    with pytest.raises(BundleError, match="without states"):
        Session(folder).stream()
