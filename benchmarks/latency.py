"""Our ONNX file against torch.onnx.export's file of the same network with the same weights, both in ONNX Runtime.

    python -m benchmarks.latency [--rounds 15] [--threads 2] [--batch 1 8]

Rounds are interleaved, and a ratio is taken within a round, of the best of three calls each, so that a busy moment hits both.
The interval is a bootstrap over rounds of the geometric mean over networks and batches.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.export import export
from benchmarks.peers import PEERS, Peer

CALLS = 3


def main() -> None:
    """Run all networks and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for peer in PEERS:
            if not options.only or peer.spec.split("/")[-1] in options.only:
                files = prepare(peer, Path(folder))
                for batch in options.batch:
                    ratios = race(files, batch, options.rounds, options.threads)
                    found[f"{peer.spec} {peer.variant} x{batch}"] = ratios
                    print(f"{peer.spec:<20} batch {batch}: ours / theirs {statistics.median(ratios):.3f}", flush=True)
    low, mean, high = interval(list(found.values()))
    print(f"geometric mean {mean:.3f} (95% {low:.3f} to {high:.3f})")
    if options.json:
        options.json.write_text(
            json.dumps({k: statistics.median(v) for k, v in found.items()} | {"mean": mean, "low": low, "high": high}, indent=1)
        )


def prepare(peer: Peer, folder: Path) -> tuple[Path, Path]:
    """Our file and theirs. Raises AssertionError when they do not compute the same function."""
    import lamina

    network = peer.network()
    bundle, theirs = folder / peer.timm, folder / f"{peer.timm}.onnx"
    spec = lamina.load(peer.path, variant=peer.variant)
    lamina.compile(spec, bundle, targets=("onnx", "onnxruntime"), weights=peer.checkpoint(network, folder))
    export(network, theirs)
    files = bundle / "model.ort.onnx", theirs
    a, b = (session(f, 2).run(None, {session(f, 2).get_inputs()[0].name: _images(2)})[0] for f in files)
    assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max(), f"{peer.timm}: outputs differ by {np.abs(a - b).max()}"
    return files


def session(file: Path, threads: int) -> Any:
    """An ONNX Runtime session on the CPU at its default, full optimisation."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def race(files: Sequence[Path], batch: int, rounds: int, threads: int) -> list[float]:
    """The ratio ours / theirs in each round. Sessions are opened anew for each: where one's memory falls can cost it a tenth."""
    image = _images(batch)
    ratios = []
    for round_ in range(rounds):
        order = [0, 1] if round_ % 2 else [1, 0]
        sessions = {index: session(files[index], threads) for index in order}
        feeds = {index: {s.get_inputs()[0].name: image} for index, s in sessions.items()}
        times = [float("inf"), float("inf")]
        for call in range(CALLS + 1):
            for index in order:
                start = time.perf_counter()
                sessions[index].run(None, feeds[index])
                if call:  # the first warms up
                    times[index] = min(times[index], time.perf_counter() - start)
        ratios.append(times[0] / times[1])
    return ratios


def interval(ratios: Sequence[Sequence[float]], draws: int = 2000) -> tuple[float, float, float]:
    """2.5%, 50% and 97.5% of the geometric mean of medians, rounds drawn with replacement."""
    rng = random.Random(0)
    means = sorted(statistics.geometric_mean(statistics.median(rng.choices(r, k=len(r))) for r in ratios) for _ in range(draws))
    return means[draws // 40], means[draws // 2], means[-draws // 40]


def _images(batch: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)


if __name__ == "__main__":
    main()
