"""The weights of a model too large for a disk: drawn, hashed and counted as a bundle is written, but kept nowhere.

    python -m benchmarks.streaming [--spec language/deepseek_moe] [--variant 145b]

First the model compiles with `--weights none`; then every tensor of its ONNX file goes, piece by piece, through the code that writes
bundles into a file that is nowhere. Memory is what the process takes beyond what importing does. Linux only.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from pathlib import Path

import onnx  # noqa: F401  # so that importing it is not counted

import lamina
from lamina.compiler.compile import weight_source
from lamina.compiler.elaborate import elaborate
from lamina.compiler.lower import lower
from lamina.compiler.summary import human, parameter_count
from lamina.compiler.targets.onnx import external_values
from lamina.compiler.weights.derived import tensor_of
from lamina.compiler.weights.write import write_external

SPECS = Path(__file__).parent.parent / "specs"


def memory() -> int:
    """The kernel's mark of the process's peak, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", default="language/deepseek_moe")
    parser.add_argument("--variant", default="145b")
    options = parser.parse_args()
    before, start = memory(), time.perf_counter()
    spec = lamina.load(SPECS / f"{options.spec}.yaml", variant=options.variant)
    with tempfile.TemporaryDirectory() as folder:
        lamina.compile(spec.model_copy(update={"tokenizer": None}), Path(folder) / "bundle", ["onnx"], weights="none")
    print(f"{spec.model} {options.variant}: compiled without weights in {time.perf_counter() - start:.1f} s,", end=" ")
    print(f"{(memory() - before) / 2**20:.0f} MiB", flush=True)
    start, model = time.perf_counter(), elaborate(spec)
    weights = weight_source(spec, model, None, 0).weights
    assert weights is not None
    tensors = (tensor_of(value, weights) for value in external_values([lower(model.graph, "onnx")]))
    written = write_external(tensors, Path(os.devnull))
    seconds = time.perf_counter() - start
    print(f"{human(parameter_count(model.graph))} parameters: {written.nbytes / 1e9:.1f} GB in {seconds:.0f} s, ", end="")
    print(f"{written.nbytes / seconds / 1e6:.0f} MB/s; {(memory() - before) / 2**20:.0f} MiB; SHA-256 {written.sha256[:16]}")


if __name__ == "__main__":
    main()
