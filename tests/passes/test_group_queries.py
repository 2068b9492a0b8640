"""Attention to a cache against PyTorch's, in one piece and in many, for one row and for padded ones; and which kernel ran."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn import functional
from transformers.models.gpt_neox.modeling_gpt_neox import apply_rotary_pos_emb as rotate_half
from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb as rotate_pairs
from transformers.models.gptj.modeling_gptj import create_sinusoidal_positions

import lamina
from lamina.runtime import Session

Array = np.ndarray[Any, Any]
DIM, LENGTH = 24, 9
SPEC = """
lamina: 1
model: decoder
config: {heads: 4, kv_heads: 2, width: 8}
inputs: {x: "float32[N, T, 24]", seen: "bool[N, P + T]"}
dims: {N: {min: 1, opt: 1, max: 4}, T: {min: 1, opt: 4, max: 16}, P: {min: 0, opt: 8, max: 64}}
blocks:
  heads_of:
    args: {count: int}
    body: ["permute(reshape(x, [shape(x)[0], shape(x)[1], count, width]), [0, 2, 1, 3])"]
  turn: {body: ["TURN"]}
  attend:
    inputs: [x, seen]
    state: {keys: "float32[shape(x)[0], kv_heads, P, width]", values: "float32[shape(x)[0], kv_heads, P, width]"}
    body:
      - n, t = shape(x)[:2]
      - q = turn(heads_of(linear(x, heads * width, bias=False, name='q'), heads))
      - k = turn(heads_of(linear(x, kv_heads * width, bias=False, name='k'), kv_heads))
      - v = heads_of(linear(x, kv_heads * width, bias=False, name='v'), kv_heads)
      - keys = concat([keys, k], dim=2)
      - values = concat([values, v], dim=2)
      - ATTENTION
      - reshape(permute(x, [0, 2, 1, 3]), [n, t, heads * width])
body: ["attend(x, seen)", "y = x + 0 * cast(sum(cast(seen, 'int64'), dims=[0, 1]), 'float32')"]
outputs: {y: "float32[N, T, heads * width]"}
"""
MASKED = "attention(q, keys, values, seen[:, None, None, :], causal=True)"
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "masked": {"attention": MASKED},
    "one key head": {"kv_heads": 1, "attention": MASKED},
    "as many key heads": {"kv_heads": 4},
    "window": {"attention": "attention(q, keys, values, causal=True, window=3)", "window": 3},
    "softcap and scale": {"attention": "attention(q, keys, values, causal=True, scale=0.9, softcap=1.5)", "scale": 0.9, "softcap": 1.5},
    "halves": {"turn": "rotary_embedding(x, arange(P, P + shape(x)[2]))", "rotary": 8},
    "pairs": {"turn": "rotary_embedding(x, arange(P, P + shape(x)[2]), interleaved=True)", "rotary": 8, "pairs": True},
    "part": {"turn": "rotary_embedding(x, arange(P, P + shape(x)[2]), dim=4)", "rotary": 4, "attention": MASKED},
}


def text(turn: str = "x", attention: str = "attention(q, keys, values, causal=True)", kv_heads: int = 2, width: int = 8, **_: Any) -> str:
    sized = SPEC.replace("kv_heads: 2", f"kv_heads: {kv_heads}").replace("width: 8", f"width: {width}")
    return sized.replace("TURN", turn).replace("ATTENTION", attention)


def compiled(folder: Path, spec: str) -> Path:
    (folder / "spec.yaml").write_text(spec)
    return lamina.compile(lamina.load(folder / "spec.yaml"), folder / "bundle")


def rotated(x: torch.Tensor, size: int, pairs: bool) -> torch.Tensor:
    """The first `size` numbers of [N, heads, T, d], by transformers."""
    if not size:
        return x
    table = create_sinusoidal_positions(LENGTH, size).double()
    sin, cos = table[None, :, : size // 2], table[None, :, size // 2 :]
    part, rest = x[..., :size], x[..., size:]
    if pairs:
        turned = rotate_pairs(part.transpose(1, 2), sin, cos).transpose(1, 2)
    else:
        turned = rotate_half(part, part, torch.cat([cos, cos], -1), torch.cat([sin, sin], -1))[0]
    return torch.cat([turned, rest], -1)


def reference(folder: Path, case: dict[str, Any], x: Array, seen: Array) -> Array:
    """In float64, the whole at once; of queries that may see a key."""
    weights = {k: v.detach().double() for k, v in lamina.to_torch(lamina.load(folder / "spec.yaml")).state_dict().items()}
    parts = [torch.from_numpy(x).double() @ weights[f"attend.{name}.weight"].T for name in "qkv"]
    q, k, v = (part.unflatten(2, (-1, 8)).transpose(1, 2) for part in parts)
    q, k = (rotated(part, case.get("rotary", 0), case.get("pairs", False)) for part in (q, k))
    k, v = (part.repeat_interleave(4 // part.shape[1], 1) for part in (k, v))
    allowed = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril().triu(1 - case.get("window", LENGTH))
    if case.get("attention") == MASKED:
        allowed = allowed & torch.from_numpy(seen)[:, None, None, :]
    if "softcap" in case:
        scores = torch.tanh(q @ k.mT * case["scale"] / case["softcap"]) * case["softcap"]
        y = scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ v
    else:
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    return np.asarray(y.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_pieces_give_what_pytorch_gives_of_the_whole(name: str, rows: int, tmp_path: Path) -> None:
    folder = compiled(tmp_path, text(**CASES[name]))
    assert "GroupQueryAttention" in operators(folder)
    rng = np.random.default_rng(0)
    x, seen = rng.standard_normal((rows, LENGTH, DIM), np.float32), np.ones((rows, LENGTH), bool)
    seen[-1, :4] = rows == 1  # padding of the last of several rows
    want = reference(tmp_path, CASES[name], x, seen)
    sessions = [Session(folder, backend=backend) for backend in ("onnx", "onnxruntime")]  # type: ignore[arg-type]
    for cuts in ((0, 9), tuple(range(10)), (0, 1, 9), (0, 4, 5, 6, 9)):
        standard, ours = (pieces(session, x, seen, cuts) for session in sessions)
        np.testing.assert_allclose(ours, standard, atol=2e-6)  # of padding too
        where = seen if CASES[name].get("attention") == MASKED else np.ones_like(seen)
        np.testing.assert_allclose(ours[where], want[where], atol=2e-6)


def pieces(session: Session, x: Array, seen: Array, cuts: tuple[int, ...]) -> Array:
    stream = session.stream()
    return np.concatenate([stream(x=x[:, a:b], seen=seen[:, :b])["y"] for a, b in itertools.pairwise(cuts)], axis=1)


def operators(folder: Path) -> list[str]:
    graph = onnx.load(folder / "model.ort.onnx", load_external_data=False).graph
    bodies = [a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return [node.op_type for each in (graph, *bodies) for node in each.node]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"attention": "attention(q, keys, values)"}, "it is not causal"),
        ({"width": 6}, "the kernel takes widths of 8"),
        (
            {"attention": "attention(q, keys, values, sink=parameter([heads], 'zeros', name='sink'), causal=True)"},
            "its sinks are of another form",
        ),
        ({"attention": "attention(q, keys, values * 2, causal=True)"}, "a cache is read elsewhere"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_kernel_does_not_take_stays(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    assert "GroupQueryAttention" not in operators(compiled(tmp_path, text(**changes))), why


@pytest.mark.parametrize(
    ("rows", "tokens", "filled", "grouped"),
    [(1, 5, 0, True), (1, 3, 4, True), (1, 1, 4, True), (3, 1, 4, True), (3, 1, 0, False), (3, 2, 4, False)],
)
def test_which_kernel_runs(rows: int, tokens: int, filled: int, grouped: bool, tmp_path: Path) -> None:
    folder = compiled(tmp_path, text(**CASES["masked"]))
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    session = onnxruntime.InferenceSession(folder / "model.ort.onnx", options, providers=["CPUExecutionProvider"])
    room = {i.name: np.zeros((rows, 2, 16, 8), np.float32) for i in session.get_inputs() if i.name.startswith("past.")}
    x, seen = np.ones((rows, tokens, DIM), np.float32), np.ones((rows, filled + tokens), bool)
    session.run(["y"], {"x": x, "seen": seen, "length.P": np.array([filled]), **room})
    ran = {
        event["args"]["op_name"] for event in json.loads(Path(session.end_profiling()).read_text()) if "op_name" in event.get("args", {})
    }
    assert ("GroupQueryAttention" in ran, "Attention" in ran) == (grouped, not grouped)
