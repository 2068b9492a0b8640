"""Spec to ONNX against torch.onnx.export(dynamo=True) of timm's network, in process, after imports and a warm-up.

    python -m benchmarks.export [--rounds 3] [--folder /dev/shm]

Two ratios per network: to a model in memory, and to a file with its weights on a RAM disk. Ours is split into its stages.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS, Peer

STAGES = ("read", "check", "lower", "bind", "model")


def main() -> None:
    """Run all networks and print a table and the geometric means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for peer in PEERS:
            rows.append(measure(peer, Path(folder), options.rounds))
            print(_line(rows[-1]), flush=True)
    for key in ("in memory", "to a file"):
        mean = statistics.geometric_mean(r[key]["ratio"] for r in rows)
        print(f"{key}: {mean:.1f}x faster (geometric mean)")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def measure(peer: Peer, folder: Path, rounds: int) -> dict[str, Any]:
    """Both ratios for one network, and where our time goes."""
    network = peer.network()
    checkpoint = peer.checkpoint(network, folder)
    ours: Callable[[], Any] = lambda: in_memory(peer, checkpoint)  # noqa: E731
    theirs = lambda: export(network)  # noqa: E731
    memory = interleaved(ours, theirs, rounds)
    bundle, file = folder / "bundle", folder / "peer.onnx"
    disk = interleaved(lambda: to_file(peer, checkpoint, bundle), lambda: export(network, file), rounds)
    stages = {name: statistics.median(run[name] for run in (in_memory(peer, checkpoint) for _ in range(5))) for name in STAGES}
    shutil.rmtree(bundle)
    for leftover in (checkpoint, *folder.glob("peer.onnx*")):
        leftover.unlink()
    return {"network": f"{peer.spec} {peer.variant}", "in memory": memory, "to a file": disk, "stages": stages}


def interleaved(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Median seconds of both, taken in turn after one warm-up each, and the ratio."""
    times: tuple[list[float], list[float]] = ([], [])
    for round_ in range(rounds + 1):
        for run, kept in ((theirs, times[0]), *[(ours, times[1])] * 3):
            start = time.perf_counter()
            run()
            if round_:
                kept.append(time.perf_counter() - start)
    a, b = (statistics.median(t) for t in times)
    return {"theirs": a, "ours": b, "ratio": a / b}


def in_memory(peer: Peer, checkpoint: Path) -> dict[str, float]:
    """YAML text to an in-memory ModelProto whose weights are bound to the checkpoint; seconds by stage."""
    import lamina
    from lamina.compiler.compile import weight_source
    from lamina.compiler.elaborate import elaborate
    from lamina.compiler.lower import lower
    from lamina.compiler.targets.onnx import external_values, to_onnx
    from lamina.compiler.weights.derived import tensor_of

    marks = [time.perf_counter()]
    spec = lamina.load(peer.path, variant=peer.variant)
    marks.append(time.perf_counter())
    model = elaborate(spec)
    marks.append(time.perf_counter())
    graph = lower(model.graph, "onnx")
    marks.append(time.perf_counter())
    weights = weight_source(spec, model, checkpoint, 0).weights
    assert weights is not None
    tensors = {v.name: tensor_of(v, weights) for v in external_values([graph])}
    marks.append(time.perf_counter())
    to_onnx(graph, tensors, {})
    marks.append(time.perf_counter())
    return {name: b - a for name, a, b in zip(STAGES, marks, marks[1:], strict=False)}


def to_file(peer: Peer, checkpoint: Path, bundle: Path) -> None:
    """The whole `lamina.compile`: a committed bundle with hashes."""
    import lamina

    lamina.compile(lamina.load(peer.path, variant=peer.variant), bundle, targets=("onnx",), weights=checkpoint)


def export(network: Any, file: Path | None = None) -> Any:
    """torch.onnx.export with a dynamic batch."""
    import contextlib
    import io

    import torch

    example = torch.zeros(2, 3, 224, 224)
    with contextlib.redirect_stdout(io.StringIO()):
        return torch.onnx.export(
            network, (example,), file, dynamo=True, dynamic_shapes=({0: torch.export.Dim("N", min=1, max=64)},), verbose=False
        )


def _line(row: dict[str, Any]) -> str:
    stages = ", ".join(f"{k} {1e3 * v:.1f}" for k, v in row["stages"].items())
    parts = [
        f"{k}: {1e3 * row[k]['ours']:.0f} ms against {row[k]['theirs']:.2f} s, {row[k]['ratio']:.1f}x" for k in ("in memory", "to a file")
    ]
    return f"{row['network']:<22} {'; '.join(parts)} ({stages} ms)"


if __name__ == "__main__":
    main()
