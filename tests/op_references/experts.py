"""Sparse experts, token by token. Which of the examples' blocks an expert is, is told by the names of its weights."""

import torch
import torch.nn.functional as F


def mlp(x, weights):
    """Linear layers with GELU between."""
    layers = [name.removesuffix("weight") for name in weights if name.endswith("weight")]
    for i, layer in enumerate(layers):
        x = F.linear(F.gelu(x) if i else x, weights[f"{layer}weight"], weights.get(f"{layer}bias"))
    return x


def gated(x, weights):
    x = F.layer_norm(x, x.shape[-1:], weights["layer_norm.weight"], weights["layer_norm.bias"])
    up, gate = (F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in ("up", "gate"))
    return F.silu(gate) * up


def moe(x, weight, choice, *, expert, count, **weights):
    def made(number, token):
        own = {name: weights[f"{number}.{name}"] for name in expert.weights}
        return (gated if "gate.weight" in own else mlp)(token, own)

    def row(token, factors, numbers):
        chosen = [(f, n) for f, n in zip(factors, numbers.tolist(), strict=True) if 0 <= n < count]
        return sum((f * made(n, token) for f, n in chosen), torch.zeros_like(made(0, token)))

    flat = zip(x.flatten(0, -2), weight.flatten(0, -2), choice.flatten(0, -2), strict=True)
    return torch.stack([row(*each) for each in flat]).unflatten(0, x.shape[:-1])


REFERENCES = {"moe": moe}
