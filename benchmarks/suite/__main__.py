"""Our bundles against torch.onnx.export, PyTorch, torch.compile and OpenVINO.

    python -m benchmarks.suite [--only vision text/minilm ...] [--rounds 9] [--threads 2] [--batch 1 8] [--json FILE]

Each peer has a process of its own, all compute the same function with the same weights, and take turns; a ratio is the median over rounds
of a peer's time against ours in the same round: above 1, ours is faster. With --json the results are kept as they come, and a model that
the file has already is not raced again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.suite.model import Model, models
from benchmarks.suite.peer import all_peers
from benchmarks.suite.race import OURS, Failed, Settings, race
from benchmarks.suite.results import best_peer, mean, ratio
from lamina.runtime.machine import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="families, or specs")
    parser.add_argument("--peers", nargs="*", default=list(all_peers()))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    settings = Settings(options.rounds, options.threads, options.batch, [OURS, *(p for p in options.peers if p != OURS)])
    found = json.loads(options.json.read_text()) if options.json and options.json.exists() else {"machine": machine(), "models": {}}
    for family, model in chosen(options.only):
        if model.name in found["models"]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                batches = race(model.name, Path(folder), settings)
            except Failed as failed:
                print(f"{model.name}: {failed}", flush=True)
                continue
        found["models"][model.name] = {"family": family, "theirs": model.network is not None, "batches": batches}
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
        for batch, peers in batches.items():
            print(_line(model.name, batch, peers), flush=True)
    if found["models"]:
        print(f"geometric mean of the best peer / ours: {mean(found['models']):.3f}")


def chosen(only: list[str]) -> Iterator[tuple[str, Model]]:
    for family, members in models().items():
        for model in members:
            if not only or family in only or model.spec in only or model.spec.split("/")[-1] in only:
                yield family, model


def _line(name: str, batch: str, peers: dict[str, Any]) -> str:
    cells = [f"{peer} {ratio(peers, peer)[1]:.2f}x" if "seconds" in peers[peer] else f"{peer} -" for peer in peers if peer != OURS]
    best = best_peer(peers)
    return f"{name}, batch {batch}: {', '.join(cells)}; best: {best}"


if __name__ == "__main__":
    main()
