"""Recurrences over time, step by step as their papers' reference code writes them."""

import torch
import torch.nn.functional as F


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


def selective_scan(u, delta, a, b, c, state=None):
    """selective_scan_ref of the Mamba authors, whose tensors are [N, D, T] and [N, S, T], without what follows the scan."""
    u, delta, b, c = (x.transpose(1, 2) for x in (u, delta, b, c))
    kept = torch.exp(torch.einsum("bdl,dn->bdln", delta, a))
    added = torch.einsum("bdl,bnl,bdl->bdln", delta, b, u)
    state = u.new_zeros(u.shape[0], *a.shape) if state is None else state
    found = []
    for t in range(u.shape[2]):
        state = kept[:, :, t] * state + added[:, :, t]
        found.append(torch.einsum("bdn,bn->bd", state, c[:, :, t]))
    return torch.stack(found, 1), state


def causal_conv1d(x, state=None, *, weight, bias=None, kernel):
    """causal_conv1d_ref of the Mamba authors: a depthwise convolution of what came before and x."""
    state = x.new_zeros(*x.shape[:2], kernel - 1) if state is None else state
    whole = torch.cat([state, x], -1)
    return F.conv1d(whole, weight, bias, groups=x.shape[1]), whole[..., 1 - kernel :]


def linear_recurrence(a, b, state=None):
    state = torch.zeros_like(a[:, 0]) if state is None else state
    found = []
    for t in range(a.shape[1]):
        state = a[:, t] * state + b[:, t]
        found.append(state)
    return torch.stack(found, 1), state


REFERENCES = {
    "causal_conv1d": causal_conv1d,
    "linear_attention": linear_attention,
    "linear_recurrence": linear_recurrence,
    "selective_scan": selective_scan,
}
