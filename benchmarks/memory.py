"""How much memory a large model takes to compile to ONNX: weights must stream, so it should not grow with them.

    python -m benchmarks.memory [--variant 7b] [--weights none] [--folder /tmp]

Seeded float16 weights (13.5 GB for `7b`) are written to a bundle in `--folder`, which is removed again. Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SPEC = Path(__file__).parent / "specs" / "decoder.yaml"
BOUND = 1.5 * 2**30  # bytes

# The peak is the kernel's mark of the process's own memory: it starts anew with the program, and the page cache is not in it.
_CHILD = """
import json, pathlib, re, sys, time
import onnx, lamina, lamina.runtime.manifest
from lamina.compiler import api, compile
from lamina.compiler.weights import derived, seeded, shapes, write

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

spec, variant, out, weights = sys.argv[1:]
before, start = peak(), time.perf_counter()
bundle = lamina.compile(lamina.load(spec, variant=variant), out, ["onnx"], weights=weights or None)
seconds, grown = time.perf_counter() - start, peak() - before
print(json.dumps({"seconds": seconds, "peak": grown, "weights": sum(f.stat().st_size for f in bundle.glob("weights.bin"))}))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One compilation: seconds, the most bytes of memory beyond what a process takes that has only imported, and bytes of weights."""

    seconds: float
    peak: int
    weights: int


def measure(variant: str, out: Path, weights: str = "") -> Measured:
    """Compile the decoder in a process of its own. `weights` is `none`, or empty for seeded ones."""
    command = [sys.executable, "-c", _CHILD, str(SPEC), variant, str(out), weights]
    return Measured(**json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> int:
    """Print one line; 1 when the peak is over the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", default="7b")
    parser.add_argument("--weights", default="", choices=["", "none"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(options.variant, Path(folder) / "bundle", options.weights)
    speed = f", {found.weights / found.seconds / 1e6:.0f} MB/s" if found.weights else ""
    print(f"decoder {options.variant}: {found.weights / 1e9:.1f} GB of weights in {found.seconds:.1f} s{speed};", end=" ")
    print(f"peak memory {found.peak / 2**20:.0f} MiB beyond the interpreter's (bound {BOUND / 2**20:.0f})")
    return int(found.peak > BOUND)


if __name__ == "__main__":
    sys.exit(main())
