"""How compiling grows with a model's depth and with its parameters: both should be near-linear in layers, and flat in parameters.

    python -m benchmarks.scale [--json FILE]

The decoder of `specs/decoder.yaml` without weights: of 10 to 10,000 layers, and of 1e6 to 1e11 parameters in 32 layers. Each compiles to
ONNX in a process of its own. Time is the processor's, which a busy machine stretches little; memory is the most beyond what a process
takes that has only imported. About 2 minutes of the processor's. Linux only.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lamina.runtime.machine import machine

SPEC = Path(__file__).parent / "specs" / "decoder.yaml"
LAYERS = (10, 30, 100, 300, 1000, 3000, 10_000)
WIDTHS = (64, 256, 1024, 4096, 16_384)  # about 12 * width^2 parameters a layer

_CHILD = """
import json, pathlib, re, resource, sys, time
import onnx, lamina, lamina.runtime.manifest
from lamina.compiler import api, compile
from lamina.compiler.weights import derived, seeded, shapes, write

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

spec, out, settings = sys.argv[1:]
before, start = peak(), time.process_time()
bundle = lamina.compile(lamina.load(spec, **json.loads(settings)), out, ["onnx"], weights="none")
seconds = time.process_time() - start
parameters = json.loads((bundle / "manifest.json").read_text())["parameters"]
print(json.dumps({"parameters": parameters, "seconds": seconds, "peak": peak() - before}))
"""


@dataclass(frozen=True, slots=True)
class Point:
    """One compilation: seconds of the processor, and bytes."""

    layers: int
    parameters: int
    seconds: float
    peak: int


def measure(layers: int, width: int) -> Point:
    heads = width // 64
    settings = {"depth": layers, "dim": width, "heads": heads, "kv_heads": heads, "hidden": 8 * width // 3}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _CHILD, str(SPEC), str(Path(folder) / "bundle"), json.dumps(settings)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return Point(layers, **found)


def points() -> Iterator[Point]:
    yield from (measure(layers, 64) for layers in LAYERS)
    yield from (measure(32, width) for width in WIDTHS)


def exponent(found: list[tuple[float, float]]) -> float:
    """Of the power that the last of these grow by: 1 is linear."""
    (x, a), (y, b) = found[-3], found[-1]
    return math.log(b / a) / math.log(y / x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    print("| layers | parameters | seconds | MiB |\n|---|---|---|---|")
    for point in points():
        found.append(point)
        print(f"| {point.layers} | {point.parameters:.3g} | {point.seconds:.2f} | {point.peak / 2**20:.0f} |", flush=True)
    deep = found[: len(LAYERS)]
    print(f"seconds grow with layers^{exponent([(p.layers, p.seconds) for p in deep]):.2f},", end=" ")
    print(f"memory with layers^{exponent([(p.layers, p.peak) for p in deep]):.2f}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "points": [asdict(point) for point in found]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
