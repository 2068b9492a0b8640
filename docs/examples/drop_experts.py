"""Drop experts of a checkpoint: python drop_experts.py CHECKPOINT.safetensors KEPT.json SMALLER.safetensors

KEPT has, for each router's path (what stands before `.experts.` in its experts' keys), the numbers of the experts that stay, in order,
such as those with most tokens of some texts: {"model.encoder.layers.1.ffn": [0, 5]}. They are numbered anew, and of the router only their
rows stay, so that a token goes to the likeliest of them. The spec of the smaller model is the same with as many experts.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

Array = np.ndarray[Any, Any]
_EXPERT = re.compile(r"(.+)\.experts\.(\D*)(\d+)\.(.+)")
_ROUTER = re.compile(r"(.+)\.(?:router(?:\.classifier)?|gate)\.(?:weight|bias)")


def dropped(checkpoint: Mapping[str, Array], kept: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """The checkpoint without the experts that are not kept. Layers that `kept` does not name stay whole."""
    held = {(match[1], int(match[3])) for key in checkpoint if (match := _EXPERT.fullmatch(key))}
    if missing := {(layer, number) for layer, numbers in kept.items() for number in numbers} - held:
        raise SystemExit(f"the checkpoint has no {', '.join(f'{layer}.experts.{number}' for layer, number in sorted(missing))}")
    found: dict[str, Array] = {}
    for key, weight in checkpoint.items():
        expert, router = _EXPERT.fullmatch(key), _ROUTER.fullmatch(key)
        if expert and expert[1] in kept:
            layer, prefix, number, rest = expert.groups()
            if int(number) in kept[layer]:
                found[f"{layer}.experts.{prefix}{kept[layer].index(int(number))}.{rest}"] = weight
        elif router and router[1] in kept:
            found[key] = np.ascontiguousarray(weight[list(kept[router[1]])])
        else:
            found[key] = weight
    return found


if __name__ == "__main__":
    checkpoint, kept, target = sys.argv[1:]
    save_file(dropped(load_file(checkpoint), json.loads(Path(kept).read_text(encoding="utf-8"))), target)
