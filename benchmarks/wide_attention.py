"""One layer of all heads against layers of some, in ONNX Runtime: the parameters and the latency of texts of bytes.

    python -m benchmarks.wide_attention [--rounds 15] [--threads 2] [--length 1024]

Rounds are interleaved, and a ratio is taken within a round, of the best of three calls each, so that a busy moment hits both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import lamina

SPEC = Path(__file__).resolve().parent.parent / "specs" / "language" / "wide_attention.yaml"
VARIANTS = ("deep", "three_layers", "two_layers", "wide")
CALLS = 3


def main() -> None:
    """Print a line for each form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--length", type=int, default=1024)
    options = parser.parse_args()
    ids = np.random.default_rng(0).integers(1, 257, (1, options.length))
    with tempfile.TemporaryDirectory() as folder:
        sessions = [_session(Path(folder), variant, options.threads) for variant in VARIANTS]
        rounds = [[_best(session, ids) for session in sessions] for _ in range(options.rounds)]
    for i, (variant, session) in enumerate(zip(VARIANTS, sessions, strict=True)):
        seconds = statistics.median(times[i] for times in rounds)
        ratio = statistics.median(times[0] / times[i] for times in rounds)
        millions = session.manifest.parameters / 1e6
        print(f"{variant:<13} {millions:5.1f}M parameters {1000 * seconds:7.1f} ms, {ratio:.2f}x as fast as {VARIANTS[0]}")


def _session(folder: Path, variant: str, threads: int) -> lamina.Session:
    return lamina.Session(lamina.compile(lamina.load(SPEC, variant), folder / variant), threads=threads)


def _best(session: lamina.Session, ids: np.ndarray) -> float:
    """Seconds of the fastest of some calls."""
    found = []
    for _ in range(CALLS):
        start = time.perf_counter()
        session(input_ids=ids)
        found.append(time.perf_counter() - start)
    return min(found)


if __name__ == "__main__":
    main()
