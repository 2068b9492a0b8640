"""What choosing tokens costs beside the model: milliseconds a step on a decoder whose logits are there already, the lowest of `--rounds`.

python -m benchmarks.generation [--vocabulary 49152] [--rounds 5]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from lamina.runtime.dtypes import Array
from lamina.runtime.generation.generate import stream, whole
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.steps import Steps

STEPS, MOST_ROWS = 200, 16
BOUND = 0.15  # ms, of a greedy step of one row
CASES: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "greedy": (1, {}),
    "greedy, 8 rows": (8, {}),
    "greedy, repetition_penalty": (1, {"repetition_penalty": 1.2}),
    "temperature": (1, {"temperature": 0.8}),
    "temperature, top_k 50": (1, {"temperature": 0.8, "top_k": 50}),
    "temperature, top_p 0.9": (1, {"temperature": 0.8, "top_p": 0.9}),
    "temperature, min_p 0.05": (1, {"temperature": 0.8, "min_p": 0.05}),
    "temperature, typical_p 0.9": (1, {"temperature": 0.8, "typical_p": 0.9}),
    "4 beams": (1, {"beams": 4}),
    "4 beams in 2 groups": (1, {"beams": 4, "beam_groups": 2, "diversity": 0.5}),
}


@final
class Ready(Steps):
    """Gives the same logits at every step."""

    room = STEPS + MOST_ROWS

    def __init__(self, vocabulary: int) -> None:
        self._logits = 3 * np.random.default_rng(0).standard_normal((MOST_ROWS, vocabulary), dtype=np.float32)

    def start(self, ids: Array, mask: Array) -> Array:
        return self._logits[: len(ids)]

    def step(self, ids: Array) -> Array:
        return self._logits[: len(ids)]

    def reorder(self, rows: Sequence[int]) -> None:
        pass


def milliseconds(steps: Steps, rows: int, options: Mapping[str, Any]) -> float:
    """Of one step."""
    chosen = Generation(max_new_tokens=STEPS, seed=0, **options)
    start = time.perf_counter()
    whole(stream(steps, None, [[1, 2, 3]] * rows, chosen, ()))
    return 1e3 * (time.perf_counter() - start) / STEPS


def main() -> int:
    """Print a line for each case; 1 when a greedy step is over its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    steps = Ready(given.vocabulary)
    found = {name: min(milliseconds(steps, *case) for _ in range(given.rounds)) for name, case in CASES.items()}
    for name, lowest in found.items():
        print(f"{name:<28} {lowest:.3f} ms" + (f"  (bound {BOUND} ms)" if name == "greedy" else ""))
    return int(found["greedy"] > BOUND)


if __name__ == "__main__":
    sys.exit(main())
