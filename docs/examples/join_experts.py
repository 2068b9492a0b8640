"""Put the experts of two checkpoints into one: python join_experts.py FIRST.safetensors SECOND.safetensors LARGER.safetensors

The second's experts are numbered on from the first's, and the rows of its routers stand below the first's. All else is the first's, or with
`--mean` the mean of both. The spec of the larger model is the same with twice as many experts; it is where training goes on from.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

Array = np.ndarray[Any, Any]
_EXPERT = re.compile(r"(.+\.experts\.\D*)(\d+)(\..+)")
_ROUTER = re.compile(r".+\.(?:router(?:\.classifier)?|gate)\.(?:weight|bias)")


def joined(first: Mapping[str, Array], second: Mapping[str, Array], mean: bool = False) -> dict[str, Array]:
    """The checkpoint with the experts of both."""
    if different := first.keys() ^ second.keys():
        raise SystemExit(f"only one of the checkpoints has {min(different)}")
    count: dict[str, int] = {}
    for match in filter(None, map(_EXPERT.fullmatch, first)):
        count[match[1]] = max(count.get(match[1], 0), int(match[2]) + 1)
    found = dict(first)
    for key, weight in second.items():
        if expert := _EXPERT.fullmatch(key):
            found[f"{expert[1]}{int(expert[2]) + count[expert[1]]}{expert[3]}"] = weight
        elif _ROUTER.fullmatch(key):
            found[key] = np.concatenate([first[key], weight])
        elif mean:
            found[key] = (first[key] + weight) / np.asarray(2, weight.dtype)
    return found


if __name__ == "__main__":
    first, second, target = (argument for argument in sys.argv[1:] if argument != "--mean")
    save_file(joined(load_file(first), load_file(second), mean="--mean" in sys.argv), target)
