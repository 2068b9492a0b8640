"""How long commands take to start, each in a process of its own: medians over `--runs`, beside the bounds that they must keep.

python -m benchmarks.startup [--runs 10]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import ZOO

_FIRST_OUTPUT = """
from lamina.runtime import Session
from lamina.runtime.samples import sample_inputs
with Session({folder!r}) as session:
    session.run(sample_inputs(session.manifest, {{}}))
"""


@dataclass(frozen=True, slots=True)
class Command:
    """What is started, and the most seconds that it may take (None where nothing is promised)."""

    what: str
    arguments: Sequence[str]
    bound: float | None = None

    def seconds(self) -> float:
        """Wall time of one run."""
        start = time.perf_counter()
        subprocess.run([sys.executable, *self.arguments], check=True, capture_output=True, env=os.environ | {"NO_COLOR": "1"})
        return time.perf_counter() - start


def main() -> int:
    """Print a line for each command; 1 when one is over its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    over = 0
    with tempfile.TemporaryDirectory() as folder:
        for command in commands(Path(folder) / "bundle"):
            command.seconds()  # writes bytecode, warms the page cache
            median = statistics.median(command.seconds() for _ in range(runs))
            over += command.bound is not None and median > command.bound
            print(f"{command.what:<36} {median:.3f} s" + (f"  (bound {command.bound:.2f} s)" if command.bound else ""), flush=True)
    return int(over > 0)


def commands(bundle: Path) -> Iterator[Command]:
    """Everything that is measured. Compiles a bundle on the way."""
    yield Command("python -c pass", ["-c", "pass"])
    yield Command("lamina --help", ["-m", "lamina", "--help"], 0.25)
    for path in sorted(ZOO.rglob("*.yaml")):
        if path.parent.name != "blocks":
            yield Command(f"lamina check {path.stem}", ["-m", "lamina", "check", str(path)], 0.6)
    yield Command("import lamina.runtime", ["-c", "import lamina.runtime"])
    spec = str(ZOO / "vision" / "poolformer.yaml")
    subprocess.run(
        [sys.executable, "-m", "lamina", "compile", spec, "-o", str(bundle), "--target", "onnxruntime"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    yield Command("poolformer s12 bundle to first output", ["-c", _FIRST_OUTPUT.format(folder=str(bundle))])


if __name__ == "__main__":
    sys.exit(main())
