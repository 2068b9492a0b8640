"""Ten kinds of attention, each as the matrix that it multiplies values by, in float64; some as PyTorch and transformers have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evidence import Record
from fill import fill, uniform
from safetensors.numpy import save_file
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from transformers import LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import parameter_count

SPEC = Path(__file__).parents[2] / "specs" / "language" / "wide_attention.yaml"
DIM, HEADS, WIDTH, SPAN, LONGEST = 8, 3, 4, 4, 25
Array = np.ndarray[Any, Any]
Weights = dict[str, Array]


def softmax(scores: Array, axis: int = -1) -> Array:
    e = np.exp(scores - scores.max(axis, keepdims=True))
    found: Array = e / e.sum(axis, keepdims=True)
    return found


def masked(q: Array, k: Array, seen: Array) -> Array:
    return softmax(np.where(seen, q @ k.swapaxes(-1, -2) * WIDTH**-0.5, -np.inf))


def shares(products: Array) -> Array:
    found: Array = products / products.sum(-1, keepdims=True)
    return found


def full(q: Array, k: Array, x: Array, w: Weights) -> Array:
    return masked(q, k, np.ones((len(x), len(x)), bool))


def low_rank(q: Array, k: Array, x: Array, w: Weights) -> Array:
    mixtures = w["low_rank_attention.mixtures"][:, : len(x)]
    return softmax(q @ (mixtures @ k).swapaxes(-1, -2) * WIDTH**-0.5) @ mixtures


def positive(q: Array, k: Array, x: Array, w: Weights) -> Array:
    q, k = (np.where(y > 0, y + 1, np.exp(np.minimum(y, 0))) for y in (q, k))
    return shares(q @ k.swapaxes(-1, -2))


def random_feature(q: Array, k: Array, x: Array, w: Weights) -> Array:
    """exp(w q - |q|^2 / 2) by exp(w k - |k|^2 / 2), each scaled so that 1e-6 is added to the same as in the authors' code."""
    directions = w["random_feature_attention.directions"]
    q, k = q * WIDTH**-0.25, k * WIDTH**-0.25
    tops = (q @ directions).max(-1, keepdims=True), (k @ directions).max((-2, -1), keepdims=True)
    q, k = (np.exp(y @ directions - (y * y).sum(-1, keepdims=True) / 2 - top) + 1e-6 for y, top in zip((q, k), tops, strict=True))
    return shares(q @ k.swapaxes(-1, -2))


def local(q: Array, k: Array, x: Array, w: Weights) -> Array:
    span = np.arange(len(x)) // SPAN
    return masked(q, k, span[:, None] == span)


def window(q: Array, k: Array, x: Array, w: Weights) -> Array:
    """Without the first token's own row, which other projections make."""
    place = np.arange(len(x))
    return masked(q, k, (abs(place[:, None] - place) <= SPAN // 2) | (place == 0))


def random_block(q: Array, k: Array, x: Array, w: Weights) -> Array:
    rows, last = -(-LONGEST // SPAN), (len(x) - 1) // SPAN

    def sees(h: int, i: int, j: int) -> bool:
        drawn = [(7919 * h + 10007 * i + 30011 * c + 1) ** 2 % 65537 * 75 % 65537 % rows for c in range(3)]
        return j in drawn or abs(i - j) <= 1 or i in (0, last) or j in (0, last)

    places = range(len(x))
    return masked(q, k, np.array([[[sees(h, i // SPAN, j // SPAN) for j in places] for i in places] for h in range(HEADS)]))


def fixed(q: Array, k: Array, x: Array, w: Weights) -> Array:
    def sees(i: int, j: int) -> bool:
        if 0 in (i, j):
            return True
        return j <= i and ((i - 1) // SPAN == (j - 1) // SPAN or (j - 1) % SPAN == SPAN - 1)

    return masked(q, k, np.array([[sees(i, j) for j in range(len(x))] for i in range(len(x))]))


def sorted_spans(q: Array, k: Array, x: Array, w: Weights) -> Array:
    """The place s of a span sees, beside its own span, sums of the places of all spans by one row of a matrix."""
    count = -(-len(x) // SPAN)
    spans = [list(range(i * SPAN, min((i + 1) * SPAN, len(x)))) for i in range(count)]
    sums = np.stack([x[span].sum(0) for span in spans])
    order = (sums @ w["sorted_attention.sort.weight"].T).reshape(count, HEADS, -1)[..., :count].transpose(1, 0, 2)
    order = np.exp(order)
    for _ in range(5):
        order = order / order.sum(-1, keepdims=True)
        order = order / order.sum(-2, keepdims=True)
    own = local(q, k, x, w)
    for h in range(HEADS):
        for i, span in enumerate(spans):
            mix = np.zeros((len(spans[0]), len(x)))
            for share, other in zip(order[h, i], spans, strict=True):
                for s, place in enumerate(other):
                    mix[s, place] = share
            own[h, span] += softmax(q[h, span] @ (mix @ k[h]).T * WIDTH**-0.5) @ mix
    return own


def synthetic(q: Array, k: Array, x: Array, w: Weights) -> Array:
    left, right = (w[f"synthetic_attention.{name}"] for name in ("left", "right"))
    return softmax(left[:, : len(x)] @ right[:, :, : len(x)])


KINDS: dict[str, Callable[[Array, Array, Array, Weights], Array]] = {
    "deep": full, "three_layers": full, "two_layers": full, "wide": full, "linformer": low_rank, "linear_transformer": positive,
    "performer": random_feature, "local": local, "longformer": window, "bigbird": random_block, "sparse_transformer": fixed,
    "sinkhorn": sorted_spans, "synthesizer": synthetic,
}  # fmt: skip


def by_heads(y: Array) -> Array:
    return y.reshape(len(y), HEADS, WIDTH).transpose(1, 0, 2)


def attended(x: Array, w: Weights, variant: str) -> Array:
    """One text's tokens [T, dim] to [T, heads * width]."""
    if variant == "synthesizer":
        q = k = np.zeros((HEADS, len(x), WIDTH))
        v = by_heads(x @ w["synthetic_attention.value.weight"].T)
    else:
        qkv = next(value for name, value in w.items() if name.endswith("qkv.weight"))
        q, k, v = (by_heads(y) for y in np.split(x @ qkv.T, 3, axis=1))
    y = KINDS[variant](q, k, x, w) @ v
    if variant == "longformer":
        q, k, v = (by_heads(x @ w[f"window_attention.first_{name}.weight"].T) for name in ("query", "key", "value"))
        y[:, 0] = (full(q, k, x, w) @ v)[:, 0]
    return y.transpose(1, 0, 2).reshape(len(x), -1)


def normed(x: Array, w: Weights, name: str) -> Array:
    y: Array = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return y * w[f"{name}.weight"] + w[f"{name}.bias"]


def affine(x: Array, w: Weights, name: str) -> Array:
    y: Array = x @ w[f"{name}.weight"].T + w[f"{name}.bias"]
    return y


def logits(ids: Array, w: Weights, variant: str) -> Array:
    """Of one text without padding."""
    x = np.concatenate([w["cls"][0], w["embed.weight"][ids]])
    angles = np.arange(len(x))[:, None] * 10000.0 ** (-np.arange(0, DIM, 2) / DIM)
    x = x + np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(len(x), DIM)
    for i in range(2):
        layer = {k.removeprefix(f"layers.{i}."): v for k, v in w.items() if k.startswith(f"layers.{i}.")}
        kind = {k.removeprefix("attend."): v for k, v in layer.items() if k.startswith("attend.")}
        x = x + attended(normed(x, layer, "norm1"), kind, variant) @ layer["out.weight"].T
        hidden = gelu(torch.from_numpy(affine(normed(x, layer, "norm2"), layer, "mlp.fc1")), approximate="tanh").numpy()
        x = x + affine(hidden, layer, "mlp.fc2")
    return affine(np.maximum(affine(normed(x, w, "norm")[0], w, "pool"), 0), w, "head")


def compiled(folder: Path, variant: str, **config: Any) -> tuple[lamina.Session, Weights]:
    spec = lamina.load(SPEC, variant, small=True, **config)
    weights = {k: fill(k, tuple(v.shape)) for k, v in lamina.to_torch(spec).state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    session = lamina.Session(lamina.compile(spec, folder / "bundle", weights=folder / "weights.safetensors"))
    return session, {k: v.astype(np.float64) for k, v in weights.items()}


def texts(length: int) -> Array:
    """Three rows, of which two are padded behind."""
    ids = np.asarray((uniform(f"ids {length}", (3, length)) + 1) * 127, np.int64) + 1
    ids[1, length // 2 + 1 :] = ids[2, length - 1 :] = 0
    return ids


@pytest.mark.parametrize("variant", KINDS)
def test_kind(variant: str, tmp_path: Path, record: Record) -> None:
    """Whole, padded, and shorter than a span."""
    session, weights = compiled(tmp_path, variant)
    worst = 0.0
    for length in (3, 10, 16, 24):
        ids = texts(length)
        wanted = np.stack([logits(row[row > 0], weights, variant) for row in ids])
        worst = max(worst, float(np.abs(session(input_ids=ids)["logits"] - wanted).max() / np.abs(wanted).max()))
    assert worst < 1e-5
    if variant != "deep":
        record(SPEC, variant, "parity", f"{worst:.0e} of the formula in NumPy, small")


def test_kinds_differ(tmp_path: Path) -> None:
    """With the same weights each kind gives other logits, so that none stands for another."""
    ids = texts(24)[:1]
    found = []
    for variant in ["wide", *list(KINDS)[4:]]:
        (tmp_path / variant).mkdir()
        found.append(compiled(tmp_path / variant, variant)[0](input_ids=ids)["logits"])
    for i, y in enumerate(found):
        assert all(np.abs(y - other).max() > 1e-4 for other in found[:i])


def test_deep_is_the_encoder_of_pytorch(tmp_path: Path, record: Record) -> None:
    """Whose heads together are as wide as a token."""
    session, weights = compiled(tmp_path, "deep", dim=HEADS * WIDTH)
    w = {k: torch.from_numpy(v) for k, v in weights.items()}
    one = nn.TransformerEncoderLayer(
        HEADS * WIDTH, HEADS, 12, 0.0, lambda y: gelu(y, approximate="tanh"), 1e-6, batch_first=True, norm_first=True
    )
    encoder = nn.TransformerEncoder(one, 2, nn.LayerNorm(HEADS * WIDTH, 1e-6), enable_nested_tensor=False).double().eval()
    theirs = {
        "self_attn.in_proj_weight": "attend.full_attention.qkv.weight", "self_attn.out_proj.weight": "out.weight",
        "linear1": "mlp.fc1", "linear2": "mlp.fc2", "norm1": "norm1", "norm2": "norm2",
    }  # fmt: skip
    state = {k: torch.zeros_like(v) for k, v in encoder.state_dict().items()}
    for key in state:
        ours = key.removeprefix("layers.")
        for name, path in theirs.items():
            ours = ours.replace(name, path)
        ours = ours if key.startswith("norm") else f"layers.{ours}"
        if "self_attn" not in key or "weight" in key:
            state[key] = w[ours]
    encoder.load_state_dict(state)
    ids = torch.from_numpy(texts(10))
    x = torch.cat([w["cls"].expand(3, 1, -1), w["embed.weight"][ids]], dim=1)
    angles = torch.arange(11)[:, None] * 10000.0 ** (-torch.arange(0, HEADS * WIDTH, 2).double() / (HEADS * WIDTH))
    padding = torch.cat([torch.zeros(3, 1, dtype=torch.bool), ids == 0], dim=1)
    y = encoder(x + torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1), src_key_padding_mask=padding)[:, 0]
    wanted = (torch.relu(y @ w["pool.weight"].T + w["pool.bias"]) @ w["head.weight"].T + w["head.bias"]).detach().numpy()
    worst = float(np.abs(session(input_ids=ids.numpy())["logits"] - wanted).max() / np.abs(wanted).max())
    assert worst < 1e-5
    record(SPEC, "deep", "parity", f"{worst:.0e} of PyTorch's TransformerEncoder, small")


def test_window_is_that_of_longformer() -> None:
    """The formula above against transformers, whose heads together are as wide as a token, at a length that its chunks divide."""
    width, length = HEADS * WIDTH, 16
    config = LongformerConfig(
        hidden_size=width, num_attention_heads=HEADS, attention_window=[SPAN], attention_probs_dropout_prob=0.0, num_hidden_layers=1
    )
    made: Any = LongformerSelfAttention
    layer = made(config, 0).double().eval()
    x = torch.from_numpy(uniform("x", (1, length, width)).astype(np.float64))
    mask = torch.zeros(1, length, dtype=torch.float64)
    mask[:, 0] = 1
    with torch.no_grad():
        for p in (module.bias for module in layer.children() if isinstance(module, nn.Linear)):
            p.zero_()
        theirs = layer(
            x, attention_mask=mask, is_index_masked=mask < 0, is_index_global_attn=mask > 0, is_global_attn=True
        )[0][0].numpy()  # fmt: skip
    w = {k: v.numpy() for k, v in layer.state_dict().items()}
    ours = {f"window_attention.first_{name}.weight": w[f"{name}_global.weight"] for name in ("query", "key", "value")}
    ours["window_attention.qkv.weight"] = np.concatenate([w[f"{name}.weight"] for name in ("query", "key", "value")])
    np.testing.assert_allclose(attended(x[0].numpy(), ours, "longformer"), theirs, atol=1e-7)  # their softmax is in float32


def test_wide_heads_are_those_of_pytorch() -> None:
    """The matrix above against PyTorch's attention."""
    q, k, v = (uniform(name, (HEADS, 9, WIDTH)).astype(np.float64) for name in "qkv")
    theirs = scaled_dot_product_attention(torch.from_numpy(q), torch.from_numpy(k), torch.from_numpy(v)).numpy()
    np.testing.assert_allclose(full(q, k, np.zeros((9, DIM)), {}) @ v, theirs, atol=1e-12)


@pytest.mark.parametrize(("variant", "depth", "heads"), [("deep", 6, 8), ("three_layers", 3, 16), ("two_layers", 2, 24), ("wide", 1, 48)])
def test_parameters_follow_the_shape(variant: str, depth: int, heads: int) -> None:
    """Depth times heads is constant: attention's weights are the same in all forms, and each layer less is a network and norms less."""
    dim, width, hidden = 512, 64, 2048
    assert depth * heads == 48
    attention = 4 * dim * width * 48
    layer = 2 * dim * hidden + hidden + dim + 4 * dim
    ends = 257 * dim + dim + 2 * dim + dim * hidden + hidden + 2 * hidden + 2
    assert parameter_count(elaborate(lamina.load(SPEC, variant)).graph) == attention + depth * layer + ends


def test_any_kind_may_be_deep() -> None:
    """About twice as large as its one layer, as the paper has it."""
    for variant in list(KINDS)[4:]:
        shallow, deep = lamina.load(SPEC, variant), lamina.load(SPEC, variant, depth=6, heads=8)
        assert 0.4 < parameter_count(elaborate(shallow).graph) / parameter_count(elaborate(deep).graph) < 0.65
