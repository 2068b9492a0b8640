"""Answer with places in a sequence of points, from two compiled parts of specs/sequence/pointer_network.yaml: `encode` and `step_masked`.

python docs/examples/pointer_network.py ENCODE STEP points.txt          (one point a line: its coordinates, apart by spaces)
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

import lamina

Array = np.ndarray[Any, Any]


def greedy(encode: lamina.Session, step: lamina.Session, points: Array, steps: int) -> tuple[Array, Array]:
    """For each row of [N, T, features] the place that scores best at each step (0 is the end), and all scores."""
    state = encode(points=points)
    chosen, h, c = np.zeros(len(points), np.int64), state["h"], state["c"]
    places, scores = [], []
    for _ in range(steps):
        found = step(points=points, keys=state["keys"], chosen=chosen, h=h, c=c)
        chosen, h, c = found["best"], found["next_h"], found["next_c"]
        places.append(chosen)
        scores.append(found["scores"])
    return np.stack(places, 1), np.stack(scores, 1)


def beam(encode: lamina.Session, step: lamina.Session, points: Array, width: int) -> tuple[Array, float]:
    """A tour of the points [T, features], the likeliest of those of which `width` are kept at each step, and its log-probability."""
    state = encode(points=points[None])
    tours, total, h, c = np.zeros((1, 1), np.int64), np.zeros(1), state["h"], state["c"]
    while tours.shape[1] <= len(points):
        count = len(tours)
        free = np.ones((count, len(points) + 1), bool)
        np.put_along_axis(free, tours, False, axis=1)  # the end, which each tour starts from, too
        given = {"points": np.repeat(points[None], count, 0), "keys": np.repeat(state["keys"], count, 0)}
        found = step(**given, chosen=tours[:, -1], h=h, c=c, open=free)
        scores = np.where(free, found["scores"].astype(np.float64), -np.inf)
        sums = total[:, None] + scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
        best = np.argsort(-sums, axis=None)[: min(width, free.sum())]
        row, place = np.divmod(best, len(points) + 1)
        tours, total = np.column_stack([tours[row], place]), sums[row, place]
        h, c = found["next_h"][row], found["next_c"][row]
    return tours[0, 1:], float(total[0])


def main(encode: str, step: str, path: str) -> None:
    """Print the order in which a tour visits the points, counted from 1."""
    points = np.loadtxt(Path(path), dtype=np.float32, ndmin=2)
    with lamina.Session(encode) as first, lamina.Session(step) as then:
        places, likely = beam(first, then, points, width=8)
    print(*places)
    print(f"log-probability {likely:.4f}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
