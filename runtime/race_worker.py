"""A process that opens a bundle, and makes calls when it is told to: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lamina.runtime import BackendMissing, BundleError, InputError, Session
from lamina.runtime.bench import call_time, peak_mb
from lamina.runtime.manifest import read_manifest
from lamina.runtime.samples import chosen_dims, sample_inputs


def answers(request: dict[str, Any], more: Iterator[str]) -> Iterator[dict[str, Any]]:
    """To the request what is open, then to each line the seconds of so many calls."""
    folder, dims = Path(request["bundle"]), request["dims"]
    manifest = read_manifest(folder)
    inputs = sample_inputs(manifest, dims)
    start = time.perf_counter()
    with Session(folder, request["backend"], threads=request["threads"]) as session:
        session.run(inputs)
        load = time.perf_counter() - start
        files = manifest.files_of(session.target)
        nbytes = sum(manifest.files[name].bytes for name in files)
        yield {"target": session.target, "dims": chosen_dims(manifest, dims), "load": load, "bytes": nbytes}
        for line in more:
            seconds = [call_time(session, inputs) for _ in range(json.loads(line)["calls"])]
            yield {"seconds": seconds, "peak": peak_mb()}


def main() -> None:
    """Answer until the input ends."""
    try:
        for answer in answers(json.loads(next(sys.stdin)), sys.stdin):
            print(json.dumps(answer), flush=True)
    except (BackendMissing, BundleError, InputError) as error:
        print(json.dumps({"failed": str(error), "kind": type(error).__name__}), flush=True)


if __name__ == "__main__":
    main()
