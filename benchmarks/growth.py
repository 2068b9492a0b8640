"""What a step of a decoder costs once it has read so many tokens: a recurrent model's no more, attention's more and more.

    python -m benchmarks.growth [--threads 2] [--rounds 5]

Weights are drawn, sizes are published ones. Lengths take turns, so that a busy moment hits all; a time is the median over rounds of the
lowest of eight steps.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import lamina
from lamina.runtime import Session

SPECS = Path(__file__).parent.parent / "specs" / "language"
MODELS = {"mamba": "130m", "mamba2": "130m", "gla": "340m", "llama": "smollm2-135m"}
LENGTHS = (50, 500, 1000, 1900)
STEPS, PIECE = 8, 500  # tokens read at a time


def decoder(name: str, folder: Path, threads: int) -> Session:
    spec = lamina.load(SPECS / f"{name}.yaml", variant=MODELS[name])
    return Session(lamina.compile(spec, folder / name, ["onnxruntime"]), threads=threads)


def milliseconds(session: Session, length: int) -> float:
    """Of the fastest step after so many tokens. The mask is of a call's tokens, or of all that have been read."""
    shapes = {given.name: given.shape for given in session.manifest.inputs}
    of_all = shapes["attention_mask"] != shapes["input_ids"]
    stream, ones = session.stream(), np.ones((1, length + STEPS), np.int64)
    counts = [PIECE] * (length // PIECE) + [length % PIECE] * (length % PIECE > 0) + [1] * STEPS
    times, done = [], 0
    for count in counts:
        ids, mask = np.full((1, count), 7), ones[:, : done + count] if of_all else ones[:, :count]
        start = time.perf_counter()
        stream(input_ids=ids, attention_mask=mask)
        times.append(time.perf_counter() - start)
        done += count
    return 1000 * min(times[-STEPS:])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    print("| milliseconds a step after |", " | ".join(f"{n} tokens" for n in LENGTHS), "|")
    print(f"|---|{'---|' * len(LENGTHS)}")
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder, decoder(name, Path(folder), options.threads) as session:
            found = [[milliseconds(session, n) for n in LENGTHS] for _ in range(options.rounds)]
        print(f"| {name} {MODELS[name]} |", " | ".join(f"{statistics.median(column):.1f}" for column in zip(*found, strict=True)), "|")


if __name__ == "__main__":
    main()
