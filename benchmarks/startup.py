"""How long commands take to start, each in a process of its own: medians over `--runs`, beside the bounds that they must keep.

    python -m benchmarks.startup [--runs 10] [--json FILE]

A bundle to its first output is held against a bare ONNX Runtime session on the same file, which checks nothing: both import what they
need, open it with our kernels and run once on the same inputs, in turns, and the ratio is the median over rounds. About 3 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers import ZOO
from lamina.runtime import Session
from lamina.runtime.machine import machine
from lamina.runtime.native import library
from lamina.runtime.samples import sample_inputs

FIRST_OUTPUT = 1.2  # most that a bundle may take, of a bare session's time
BUNDLES = {"poolformer s12": "vision/poolformer", "minilm": "embedding/minilm"}

_OURS = """
import sys
import numpy as np
from lamina.runtime import Session
with Session(sys.argv[1]) as session:
    session.run(dict(np.load(sys.argv[2])))
"""
_BARE = """
import sys
import numpy as np
import onnxruntime
settings = onnxruntime.SessionOptions()
if sys.argv[3]:
    settings.register_custom_ops_library(sys.argv[3])
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.ort.onnx", settings, providers=["CPUExecutionProvider"])
session.run(None, dict(np.load(sys.argv[2])))
"""


@dataclass(frozen=True, slots=True)
class Command:
    """What is started, and the most seconds that it may take (None where nothing is promised)."""

    what: str
    arguments: Sequence[str]
    bound: float | None = None

    def seconds(self) -> float:
        """Wall time of one run."""
        usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # users have bytecode
        start = time.perf_counter()
        subprocess.run([sys.executable, *self.arguments], check=True, capture_output=True, env=usual | {"NO_COLOR": "1"})
        return time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Found:
    """A median, in seconds, or a ratio of two; and its bound."""

    what: str
    value: float
    unit: str
    bound: float | None

    @property
    def over(self) -> bool:
        return self.bound is not None and self.value > self.bound

    def __str__(self) -> str:
        bound = f"  (bound {self.bound:.2f}{self.unit})" if self.bound else ""
        return f"{self.what:<52} {self.value:.3f}{self.unit}{bound}"


def main() -> int:
    """Print a line for each figure; 1 when one is over its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    for one in measured(options.runs):
        found.append(one)
        print(one, flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "found": [asdict(one) for one in found]}, indent=1) + "\n")
    return int(any(one.over for one in found))


def measured(runs: int) -> Iterator[Found]:
    """Everything that is measured."""
    for command in commands():
        command.seconds()  # writes bytecode, warms the page cache
        yield Found(command.what, statistics.median(command.seconds() for _ in range(runs)), " s", command.bound)
    with tempfile.TemporaryDirectory() as folder:
        for name, spec in BUNDLES.items():
            yield from first_output(name, spec, Path(folder) / spec, runs)


def commands() -> Iterator[Command]:
    """Commands, `lamina check` on the longest spec of each family among them."""
    yield Command("python -c pass", ["-c", "pass"])
    yield Command("lamina --help", ["-m", "lamina", "--help"], 0.25)
    for family in sorted(path for path in ZOO.iterdir() if path.is_dir() and path.name != "blocks"):
        if specs := sorted(family.glob("*.yaml")):
            longest = max(specs, key=lambda path: path.stat().st_size)
            yield Command(f"lamina check {longest.stem}", ["-m", "lamina", "check", str(longest)], 0.6)
    yield Command("import lamina.runtime", ["-c", "import lamina.runtime"])


def first_output(name: str, spec: str, bundle: Path, runs: int) -> Iterator[Found]:
    """Of a bundle with its dims at their least: seconds of ours and of a bare session, and how many times as long ours takes."""
    compile_it = [sys.executable, "-m", "lamina", "compile", str(ZOO / f"{spec}.yaml"), "-o", str(bundle), "--target", "onnxruntime"]
    subprocess.run(compile_it, check=True, stdout=subprocess.DEVNULL)
    inputs = bundle.with_suffix(".npz")
    with Session(bundle) as session:
        least = {dim: extent.min for dim, extent in session.manifest.dims.items()}
        np.savez(inputs, **sample_inputs(session.manifest, least))  # type: ignore[arg-type]
    given = [str(bundle), str(inputs), str(library() or "")]
    ours, bare = (Command(name, ["-c", code, *given]) for code in (_OURS, _BARE))
    rounds = [(ours.seconds(), bare.seconds()) for _ in range(runs + 1)][1:]
    yield Found(f"{name}: bundle to first output", statistics.median(a for a, _ in rounds), " s", None)
    yield Found(f"{name}: bare ONNX Runtime to first output", statistics.median(b for _, b in rounds), " s", None)
    yield Found(f"{name}: to first output, ours / bare", statistics.median(a / b for a, b in rounds), "x", FIRST_OUTPUT)


if __name__ == "__main__":
    sys.exit(main())
