"""`lamina check --target X` against the builders of X: what it accepts builds, and what it refuses does not.

    python tests/trust/sound.py [--count 1000] [--seed 0] [--tensorrt 200] [--zoo 1] [--targets onnx onnxruntime torch tensorrt] [--record]

Each random spec, and each variant of the zoo in its small form, is checked for each target and built, whatever the check said. A process of
its own does it: a native library may crash or hang. Findings go to build/sound.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "zoo")]

from random_specs import numbered
from trust import record

FOLDER = Path("build/sound")
TARGETS = ("onnx", "onnxruntime", "torch", "tensorrt")
LIMIT = 900.0  # seconds for one check and one build
KINDS = {
    (True, True): "accepted, builds",
    (True, False): "accepted, does not build: false accepts",
    (False, False): "refused, does not build",
    (False, True): "refused, builds: false refusals",
}


@dataclass(frozen=True)
class Case:
    """A spec as `lamina` is asked to check it, for one target."""

    name: str
    path: str
    variant: str | None
    small: bool
    target: str


@dataclass(frozen=True)
class Shown:
    """What the check said and what the builder did; the dtypes that the spec's values have; seconds of each."""

    accepted: bool
    built: bool
    said: str = ""
    why: str = ""
    dtypes: tuple[str, ...] = ()
    seconds: tuple[float, float] = (0.0, 0.0)


# In the process that builds.


def serve() -> None:
    """Answer cases, one JSON line each."""
    import torch

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(asdict(shown(Case(**json.loads(line))))) + "\n")


def shown(case: Case) -> Shown:
    import lamina
    from lamina.compiler.elaborate import elaborate
    from lamina.compiler.support import check_target

    spec = lamina.load(case.path, case.variant, small=case.small).model_copy(update={"weights": None, "tokenizer": None})
    dtypes = tuple(sorted({v.type.dtype for n in elaborate(spec).graph.nodes for v in n.outputs if v.type is not None}))
    began = time.perf_counter()
    said = failure(lambda: check_target(spec, case.target))
    between = time.perf_counter()
    why = failure(lambda: build(spec, case.target))
    return Shown(not said, not why, said, why, dtypes, (between - began, time.perf_counter() - between))


def failure(work: Any) -> str:
    """What went wrong, if anything did."""
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def build(spec: Any, target: str) -> None:
    """What `lamina compile --target` does, then a session of what it wrote, where this machine can run it."""
    import agree

    import lamina
    from lamina.runtime.manifest import OnnxTarget, read_manifest
    from lamina.runtime.rooms import Rooms

    with tempfile.TemporaryDirectory() as folder:
        bundle = lamina.compile(spec, Path(folder) / "bundle", [target])
        manifest = read_manifest(bundle)
        points = list(agree.points(manifest))
        built = manifest.targets.built()[target]
        if isinstance(built, OnnxTarget):
            inputs = Rooms(manifest, built.preallocated).with_room(agree.arrays(manifest, points[0]))
            for level in agree.LEVELS:
                agree.opened(bundle / built.file, level).run(None, inputs)
        elif target == "torch":
            with lamina.Session(bundle, backend="torch") as session:
                for point in points:
                    session.run(agree.arrays(manifest, point))


# In the process that counts.


class Builder:
    """The process that checks and builds, started again where it died or took too long."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, case: Case) -> Shown:
        if self.process is None:
            command = [sys.executable, __file__, "--serve"]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        process = self.process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(asdict(case)) + "\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if waiting.select(LIMIT) else ""
        if line:
            found = json.loads(line)
            return Shown(**{**found, "dtypes": tuple(found["dtypes"]), "seconds": tuple(found["seconds"])})
        self.close()
        return Shown(True, False, why=f"the process ended with {process.returncode}")

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS))
    parser.add_argument("--zoo", action="store_true")
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--log", default="")
    parser.add_argument("--serve", action="store_true")
    asked = parser.parse_args()
    if asked.serve:
        serve()
        return
    tally: Counter = Counter()
    secs: Counter = Counter()
    builder = Builder()
    log = open(asked.log, "w", buffering=1) if asked.log else sys.stdout
    with tempfile.TemporaryDirectory() as folder:
        def cases():
            if asked.zoo:
                from zoo import files, small_cases
                k, m = map(int, asked.part.split("/"))
                for i, case in enumerate(c for p in files() for c in small_cases(p)):
                    if i % m == k:
                        for t in asked.targets:
                            yield Case(str(case), str(case.path), case.variant, True, t)
            else:
                for number in range(asked.seed, asked.seed + asked.count):
                    drawn = numbered(number)
                    path = Path(folder) / f"{number}.yaml"
                    path.write_text(drawn.text)
                    for t in asked.targets:
                        yield Case(str(number), str(path), drawn.variant, False, t)
        for case in cases():
            s = builder.ask(case)
            kind = KINDS[s.accepted, s.built]
            tally[case.target, kind] += 1
            secs[case.target, "check"] += s.seconds[0]
            secs[case.target, "build"] += s.seconds[1]
            log.write(json.dumps({"case": asdict(case), **asdict(s)}) + "\n")
            if s.accepted != s.built:
                print(f"{case.name} {case.target} {kind}\n   SAID {s.said[:300]}\n   WHY {s.why[:600]}", flush=True)
    print(dict(tally), {k: round(v, 1) for k, v in secs.items()})


if __name__ == "__main__":
    main()
