"""Recurrences over time, step by step as their papers' reference code writes them."""

import torch


def linear_attention(q, k, v, decay=None, beta=None, state=None, *, scale):
    """The naive recurrences of flash-linear-attention (simple_gla, gla, delta_rule, gated_delta_rule), which differ in the update alone."""
    n, heads, length, dk = q.shape
    scale = dk**-0.5 if scale is None else scale
    state = q.new_zeros(n, heads, dk, v.shape[3]) if state is None else state
    decay = q.new_zeros(n, heads, length) if decay is None else decay
    decay = decay[..., None] if decay.ndim == 3 else decay
    found = []
    for t in range(length):
        key, value = k[:, :, t, :, None], v[:, :, t]
        state = state * decay[:, :, t, :, None].exp()
        if beta is not None:
            value = (value - (state * key).sum(-2)) * beta[:, :, t, None]
        state = state + key * value[:, :, None]
        found.append((q[:, :, t, :, None] * scale * state).sum(-2))
    return torch.stack(found, 2), state


REFERENCES = {"linear_attention": linear_attention}
