"""Attention and rotary embeddings."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from lamina.compiler.targets.torch.arrays import torch_dtype
from lamina.compiler.targets.torch.registry import lowering


@lowering("RotaryEmbedding")
def rotary_embedding(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    positions: Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """x: [N, heads, T, d] or [N, T, heads * d]. The first `rotary_embedding_dim` elements of each head turn (0: all)."""
    heads = x.transpose(1, 2) if x.dim() == 4 else x.unflatten(2, (num_heads, -1))  # type: ignore[no-untyped-call]
    turn = rotary_embedding_dim or heads.shape[-1]
    c, s = (t[positions] if positions is not None else t for t in (cos, sin))
    c, s = (t[..., : turn // 2].unsqueeze(2) for t in (c, s))
    turned, kept = heads[..., :turn], heads[..., turn:]
    a, b = (turned[..., 0::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    real, imaginary = c * a - s * b, s * a + c * b
    turned = torch.stack([real, imaginary], -1).flatten(-2) if interleaved else torch.cat([real, imaginary], -1)
    y = torch.cat([turned, kept], -1)
    return y.transpose(1, 2) if x.dim() == 4 else y.flatten(2)


@lowering("Attention")
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    lengths: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int = 0,
    left_window_size: int = -1,
    q_num_heads: int = 0,
    qk_matmul_output_mode: int = 0,
    right_window_size: int = -1,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int = 0,
    outputs: int = 1,
) -> tuple[Tensor, ...]:
    """q, k, v: [N, heads, T, d] or [N, T, heads * d]. A query that may see no key gives 0."""
    flat = q.dim() == 3
    if flat:
        q, k, v = (_heads(t, n) for t, n in ((q, q_num_heads), (k, kv_num_heads), (v, kv_num_heads)))
    k = k if past_key is None else torch.cat([past_key, k], 2)
    v = v if past_value is None else torch.cat([past_value, v], 2)
    before = past_key.shape[2] if past_key is not None else 0
    allowed = _visible(q, k, before, lengths, is_causal, left_window_size, right_window_size)
    bias = _bias(q, k, mask, allowed)
    if outputs == 4 or softcap or softmax_precision:
        y, scores = _written_out(q, k, v, bias, scale, softcap, softmax_precision, qk_matmul_output_mode)
    else:
        y, scores = F.scaled_dot_product_attention(q, k, v, bias, scale=scale, enable_gqa=q.shape[1] != k.shape[1]), q
    dead = None if bias is None else torch.isneginf(bias.amax(-1, keepdim=True))
    y = y if dead is None else torch.where(dead, torch.zeros_like(y), y)
    return (y.transpose(1, 2).flatten(2) if flat else y), k, v, scores


def _heads(x: Tensor, count: int) -> Tensor:
    return x.unflatten(2, (count, -1)).transpose(1, 2)  # type: ignore[no-any-return, no-untyped-call]


def _visible(q: Tensor, k: Tensor, before: int, lengths: Tensor | None, causal: int, left: int, right: int) -> Tensor | None:
    """Which keys each query may see by position, or None for all: causality, a window around it, and the valid length of each row."""
    key = torch.arange(k.shape[2], device=q.device)
    first = before if lengths is None or before else (lengths - q.shape[2]).reshape(-1, 1, 1, 1)
    ahead = key - (torch.arange(q.shape[2], device=q.device).unsqueeze(1) + first)
    rules = [ahead <= 0] if causal else []
    rules += [ahead >= -left] if left >= 0 else []
    rules += [ahead <= right] if right >= 0 else []
    rules += [key < lengths.reshape(-1, 1, 1, 1)] if lengths is not None else []
    return reduce(torch.logical_and, rules) if rules else None


def _bias(q: Tensor, k: Tensor, mask: Tensor | None, allowed: Tensor | None) -> Tensor | None:
    """What is added to the scores: the mask, and minus infinity where a key may not be seen. A mask may be shorter than the keys."""
    zero = torch.zeros((), dtype=q.dtype, device=q.device)
    if mask is not None:
        mask = torch.where(mask, zero, float("-inf")) if mask.dtype is torch.bool else mask
        mask = F.pad(mask, (0, k.shape[2] - mask.shape[-1]), value=float("-inf"))
    if allowed is None:
        return mask
    return torch.where(allowed, zero if mask is None else mask, float("-inf"))


def _written_out(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None, softcap: float, precision: int, mode: int
) -> tuple[Tensor, Tensor]:
    """The formula, step by step; `mode` says which step's scores are wanted: raw, capped, biased or normalised."""
    groups = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(groups, 1) for t in (k, v))
    root = torch.sym_sqrt(1 / torch.sym_sqrt(q.shape[-1]) if scale is None else scale)
    raw = (q * root) @ (k * root).mT
    capped = torch.tanh(raw / softcap) * softcap if softcap else raw
    biased = capped if bias is None else capped + bias
    weights = torch.softmax(biased.to(torch_dtype(precision)) if precision else biased, -1).to(q.dtype)
    if bias is not None:
        weights = torch.where(torch.isneginf(bias.amax(-1, keepdim=True)), torch.zeros_like(weights), weights)
    return weights @ v, (raw, capped, biased, weights)[mode]
