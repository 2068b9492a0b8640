"""A bare session in a process of its own, which runs when it is asked to.

    python -m benchmarks.serving.bare MODEL TOKENS

A line of stdin, `{"rows": 8, "seconds": 1.0}`, is answered by one of stdout: a `Calls` as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

from benchmarks.serving.models import Model
from lamina.runtime import Session


@dataclass(frozen=True, slots=True)
class Calls:
    """Milliseconds: of each call, and of the processor for one of them."""

    times: list[float]
    processor: float


class Bare:
    """The process. Threads: one."""

    def __init__(self, model: Model) -> None:
        command = [sys.executable, "-m", "benchmarks.serving.bare", model.name, str(model.tokens or 0)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def calls(self, rows: int, seconds: float) -> Calls:
        """Calls of so many rows, made again and again for so many seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"rows": rows, "seconds": seconds}), file=self._process.stdin, flush=True)
        return Calls(**json.loads(self._process.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate("")  # it ends with its input


def main() -> None:
    name, tokens = sys.argv[1:]
    model = Model(name, int(tokens) or None)
    with Session(model.bundle, threads=1) as session:
        for line in sys.stdin:
            asked = json.loads(line)
            inputs, times = model.inputs(asked["rows"]), list[float]()
            session.run(inputs)
            end, spent = time.perf_counter() + asked["seconds"], time.process_time()
            while (began := time.perf_counter()) < end:
                session.run(inputs)
                times.append(round(1000 * (time.perf_counter() - began), 4))
            found = Calls(times, round(1000 * (time.process_time() - spent) / len(times), 4))
            print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    main()
