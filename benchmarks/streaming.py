"""The weights of a model too large for a disk: drawn, hashed and counted as a bundle is written, but kept nowhere.

    python -m benchmarks.streaming [--spec language/deepseek_moe] [--variant 145b] [--seconds 200] [--json FILE]

First the model compiles with `--weights none`; then every tensor of its ONNX file, or those that so many seconds are enough for, goes,
piece by piece, through the code that writes bundles into a file that is nowhere. Memory is what the process takes beyond what importing
does. Whole, 145 billion parameters take half an hour. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx  # noqa: F401  # so that importing it is not counted

import lamina
from lamina.compiler.compile import weight_source
from lamina.compiler.elaborate import elaborate
from lamina.compiler.lower import lower
from lamina.compiler.summary import human, parameter_count
from lamina.compiler.targets.onnx import external_values
from lamina.compiler.weights.derived import tensor_of
from lamina.compiler.weights.tensor import Tensor
from lamina.compiler.weights.write import write_external
from lamina.runtime.machine import machine

SPECS = Path(__file__).parent.parent / "specs"


def memory() -> int:
    """The kernel's mark of the process's peak, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def until(tensors: Iterable[Tensor], seconds: float) -> Iterator[Tensor]:
    """Those that are asked for before the time is over."""
    start = time.perf_counter()
    for tensor in tensors:
        if time.perf_counter() - start > seconds:
            return
        yield tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", default="language/deepseek_moe")
    parser.add_argument("--variant", default="145b")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    before, start = memory(), time.perf_counter()
    spec = lamina.load(SPECS / f"{options.spec}.yaml", variant=options.variant)
    with tempfile.TemporaryDirectory() as folder:
        lamina.compile(spec.model_copy(update={"tokenizer": None}), Path(folder) / "bundle", ["onnx"], weights="none")
    found: dict[str, Any] = {
        "model": f"{spec.model} {options.variant}",
        "none_seconds": time.perf_counter() - start,
        "none_peak": memory() - before,
    }
    print(f"{found['model']}: compiled without weights in {found['none_seconds']:.1f} s, {found['none_peak'] / 2**20:.0f} MiB", flush=True)
    start, model = time.perf_counter(), elaborate(spec)
    weights = weight_source(spec, model, None, 0).weights
    assert weights is not None
    tensors = [tensor_of(value, weights) for value in external_values([lower(model.graph, "onnx")])]
    written = write_external(until(tensors, options.seconds), Path(os.devnull))
    seconds = time.perf_counter() - start
    found |= {"parameters": parameter_count(model.graph), "bytes": sum(tensor.nbytes for tensor in tensors), "seconds": seconds}
    found |= {"written": written.nbytes, "peak": memory() - before}
    print(
        f"{human(found['parameters'])} parameters: {written.nbytes / 1e9:.1f} of {found['bytes'] / 1e9:.1f} GB in {seconds:.0f} s, ", end=""
    )
    print(f"{written.nbytes / seconds / 1e6:.0f} MB/s; {found['peak'] / 2**20:.0f} MiB; SHA-256 {written.sha256[:16]}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
