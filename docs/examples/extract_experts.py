"""Cut a decoder's networks into experts: python extract_experts.py DENSE.safetensors MASKS.npz EXPERTS.safetensors

MASKS has, for each layer i, `i.experts`, bool [experts, neurons], and `i.residual`, bool [neurons]: those that every expert has. An
expert is the rows of `gate_proj` and `up_proj` and the columns of `down_proj` that its masks name, in their order. What is written, with
the keys of the zoo's `read_me`, is all else of the decoder, too; its router is trained elsewhere. `--apart` keeps what is in common beside
the experts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

Array = np.ndarray[Any, Any]
_NETWORK = re.compile(r"model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj\.weight")


def extracted(dense: Mapping[str, Array], masks: Mapping[str, Array], apart: bool = False) -> dict[str, Array]:
    """The checkpoint with experts."""
    found: dict[str, Array] = {}
    for key, weight in dense.items():
        if (match := _NETWORK.fullmatch(key)) is None:
            found[key] = weight
            continue
        layer, part = match.groups()
        residual = masks[f"{layer}.residual"].astype(bool)
        for name, mask in _named(masks[f"{layer}.experts"].astype(bool), residual, apart):
            rows = np.flatnonzero(mask)
            cut = weight[:, rows] if part == "down" else weight[rows]
            found[f"model.layers.{layer}.moe.{part}_proj_{name}.weight"] = np.ascontiguousarray(cut)
    return found


def _named(experts: Array, residual: Array, apart: bool) -> list[tuple[str, Array]]:
    if (experts & residual).any():
        raise SystemExit("a neuron is in an expert's mask and in the residual one, and would count twice")
    if apart:
        return [*((str(i), mask) for i, mask in enumerate(experts)), ("residual", residual)]
    return [(str(i), mask | residual) for i, mask in enumerate(experts)]


if __name__ == "__main__":
    dense, masks, target = (argument for argument in sys.argv[1:] if argument != "--apart")
    with np.load(masks) as stored:
        save_file(extracted(load_file(dense), dict(stored), apart="--apart" in sys.argv), target)
