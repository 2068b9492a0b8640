"""Measure what `lamina serve` costs and bears, on this machine alone.

    python -m benchmarks.serving overhead|throughput|overload|memory|restart|against [--seconds N] [--json FILE]

Each part prints its figures and leaves them in the file. A server's calls have one thread, as has the bare session; the client is a process
of its own. The part `against` leaves MLServer out where there is no
environment with it: see `peers/__init__.py`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import ModuleType

from benchmarks.serving import against, memory, overhead, overload, restart, throughput
from benchmarks.serving.models import ROOT
from lamina.runtime.machine import machine

PARTS: dict[str, ModuleType] = {one.__name__.rpartition(".")[2]: one for one in (overhead, throughput, overload, memory, restart, against)}
RESULTS = ROOT / "benchmarks" / "results" / "serving.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seconds", type=float, help="About how long a part asks; each has a time of its own.")
    parser.add_argument("--json", type=Path, default=RESULTS)
    given = parser.parse_args()
    for name in given.parts:
        found = PARTS[name].measure(given.seconds or PARTS[name].SECONDS)
        print(f"## {name}\n", *PARTS[name].lines(found), sep="\n", flush=True)
        _keep(given.json, name, found)


def _keep(path: Path, name: str, found: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"parts": {}}
    parts = known["parts"] | {name: found}
    text = json.dumps({"machine": machine(), "parts": {part: parts[part] for part in PARTS if part in parts}}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
