"""Run other people's models on weights and inputs that `fill` makes, and store what they give. Scripts `make_*.py` call `write`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from cases import Reference
from fill import Array, Draw, Scale, fill
from torch.utils.flop_counter import FlopCounterMode

Tensors = Mapping[str, torch.Tensor]
Run = Callable[[Any, Tensors], Tensors]
LEAST_EFFECT = 1e-3  # of the outputs' size, by every parameter: a wrong weight must not go unnoticed
LARGEST_FILE = 200_000  # bytes of outputs before compression


def write(
    spec: str,
    name: str,
    model: torch.nn.Module,
    points: Sequence[Mapping[str, Draw]],
    run: Run,
    *,
    reference: str,
    variant: str | None = None,
    small: bool = False,
    config: Mapping[str, Any] | None = None,
    sweep: bool = False,
    tolerance: float = 1e-5,
    macs_at: Mapping[str, int] | None = None,
    scales: Sequence[Scale] = (),
    own: Sequence[str] = (),
    unused: Sequence[str] = (),
    inert: Sequence[str] = (),
    every: int = 1,
    key: Callable[[str], str] = str,
) -> None:
    """Fill the model's checkpoint, run it in eval mode at each point and store the case.

    spec: `vision/vit`. run: from the model and the inputs by name, the outputs by our spec's names. reference: its name and version.
    macs_at: the dims of the first point, when its multiply-adds (convolutions and matrix products) are to be compared too.
    own: patterns of keys that keep the model's own values and are no part of the checkpoint (tables, indices).
    unused: of keys that the model holds and never reads. inert: of parameters without effect by the nature of the network.
    every: of images too large to be stored, the step between rows and columns; without a common factor with the network's strides.
    key: what the published checkpoint calls a key of the model, where its own code renames them.
    """
    model = model.eval()
    held = {k: v for k, v in model.state_dict().items() if not _any(k, own)}
    state = {key(k): tuple(v.shape) for k, v in held.items()}
    filled = {k: torch.from_numpy(np.asarray(fill(key(k), state[key(k)], scales))).to(v.dtype) for k, v in held.items()}
    missing = model.load_state_dict(filled, strict=False)
    assert not missing.unexpected_keys
    case = Reference(
        spec, name, reference, variant, small, dict(config or {}), sweep, tolerance,
        sum(p.numel() for k, p in model.named_parameters() if not _any(k, unused)),
        None if macs_at is None else _macs(model, points[0], run), dict(macs_at or {}),
        state, tuple(points), tuple(scales), every,
    )  # fmt: skip
    inputs = [{k: torch.from_numpy(v) for k, v in arrays.items()} for arrays in case.inputs()]
    _check_sensitive(f"{spec} {name}", model, run, inputs, (*unused, *inert))
    with torch.no_grad():
        outputs = [case.thin({k: v.numpy() for k, v in run(model, tensors).items()}) for tensors in inputs]
    assert sum(v.nbytes for arrays in outputs for v in arrays.values()) <= LARGEST_FILE, "use smaller inputs"
    case.write(outputs)


def _any(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _macs(model: torch.nn.Module, point: Mapping[str, Draw], run: Run) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run(model, {k: torch.from_numpy(v.array(k)) for k, v in point.items()})
    return int(counter.get_total_flops()) // 2


def _check_sensitive(title: str, model: torch.nn.Module, run: Run, runs: Sequence[Tensors], inert: Sequence[str]) -> None:
    """Stop unless the outputs are sane and depend on every parameter."""
    weights = {k: p for k, p in model.named_parameters() if p.requires_grad and not _any(k, inert)}
    effects = dict.fromkeys(weights, 0.0)
    for tensors in runs:
        outputs = {k: v for k, v in run(model, tensors).items() if v.is_floating_point()}
        assert all(bool(torch.isfinite(v).all()) and float(v.detach().std()) > 1e-3 for v in outputs.values() if v.numel() > 1), title
        if weights:
            probes = torch.cat([(v * _signs(k, v)).flatten() for k, v in outputs.items()])
            gradients = torch.autograd.grad(probes.sum(), list(weights.values()), allow_unused=True)
            size = float(probes.detach().norm())
            for (key, weight), gradient in zip(weights.items(), gradients, strict=True):
                if gradient is not None:
                    effects[key] = max(effects[key], float((gradient * weight.detach()).abs().sum()) / size)
    weakest = min(effects, key=effects.__getitem__, default="")
    print(f"{title}: {len(effects)} weights, least effect {effects.get(weakest, math.nan):.2g}, of {weakest}")
    if effects and effects[weakest] < LEAST_EFFECT:
        raise SystemExit(
            f"{title}: {[k for k, v in effects.items() if v < LEAST_EFFECT]} matter too little: give scales, or say why in `inert`"
        )


def _signs(name: str, like: torch.Tensor) -> torch.Tensor:
    array: Array = fill(f"probe.{name}", tuple(like.shape))
    return torch.from_numpy(array).to(like.dtype)
