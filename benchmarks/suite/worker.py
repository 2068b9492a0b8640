"""A process for one peer and one model: it prepares, or loads and then runs when it is asked to.

    python -m benchmarks.suite.worker setup|prepare|race FOLDER

Requests come as lines of JSON, `{"calls": 5}`; so do answers. What libraries print goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite.model import Model, one
from benchmarks.suite.peer import Array, Job, Run, all_peers


def main() -> None:
    sys.setrecursionlimit(10_000)
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        task, folder = sys.argv[1], Path(sys.argv[2])
        request = json.loads((folder / "job.json").read_text())
        try:
            for answer in _TASKS[task](folder, request):
                print(json.dumps(answer), file=answers, flush=True)
        except Exception as error:
            text = next(iter(str(error).strip().splitlines()), "")
            print(json.dumps({"failed": f"{type(error).__name__}: {text[:300]}"}), file=answers, flush=True)
            raise


def _setup(folder: Path, request: Mapping[str, Any]) -> Any:
    """Write the weights that all share, and the inputs of each batch."""
    model = one(request["model"])
    if model.network is not None:
        (folder / "checkpoint").mkdir()
        from benchmarks.suite.torch_network import Theirs

        Theirs(model.network).checkpoint(folder / "checkpoint")
    for batch in request["batches"]:
        made = _inputs(model, batch, folder / "unweighted")
        np.savez(folder / f"inputs-{batch}.npz", **made)
    yield {}


def _inputs(model: Model, batch: int, folder: Path) -> dict[str, Array]:
    """Random ones, but that nothing is masked."""
    import lamina
    from lamina.runtime.manifest import read_manifest
    from lamina.runtime.samples import sample_inputs

    if not folder.exists():
        lamina.compile(model.load(), folder, ["onnxruntime"], weights="none")
    found = sample_inputs(read_manifest(folder), model.at(batch))
    return {name: np.ones_like(array) if name.endswith("mask") else array for name, array in found.items()}


def _prepare(folder: Path, request: Mapping[str, Any]) -> Any:
    job, peer = _job(folder, request), all_peers()[request["peer"]]()
    start = time.perf_counter()
    peer.prepare(job)
    seconds = time.perf_counter() - start
    yield {"seconds": seconds, "bytes": sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name != "job.json")}


def _race(folder: Path, request: Mapping[str, Any]) -> Any:
    job, peer = _job(folder, request), all_peers()[request["peer"]]()
    start = time.perf_counter()
    run = peer.load(job)
    output = run()
    seconds = time.perf_counter() - start
    np.save(folder / "output.npy", output)
    yield {"seconds": seconds}
    for line in sys.stdin:
        yield {"times": _times(run, json.loads(line)["calls"]), "peak": _peak()}


def _times(run: Run, calls: int) -> list[float]:
    """Seconds of each call, after one that wakes the threads."""
    run()
    found = []
    for _ in range(calls):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return found


def _peak() -> int:
    """The most bytes that this process has held."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _job(folder: Path, request: Mapping[str, Any]) -> Job:
    with np.load(folder.parent / f"inputs-{request['batch']}.npz") as stored:
        inputs = {name: stored[name] for name in stored.files}
    return Job(one(request["model"]), inputs, request["threads"], folder)


_TASKS = {"setup": _setup, "prepare": _prepare, "race": _race}

if __name__ == "__main__":
    main()
