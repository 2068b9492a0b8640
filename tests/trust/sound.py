"""`lamina check --target X` against the builders of X: what it accepts builds, and what it refuses does not.

    python tests/trust/sound.py [--count 1000] [--seed 0] [--tensorrt 250] [--zoo] [--targets onnx torch] [--jobs 2] [--resume] [--record]

Random specs, and with --zoo each variant of the zoo in its small form, are checked for each target and built, whatever the check said.
A process of its own does it: a native library may crash or hang. What each showed is a line of build/sound/results.jsonl, and with
--resume what stands there is not done again.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any, TextIO

from random_specs import numbered
from trust import record

FOLDER = Path("build/sound")
TARGETS = ("onnx", "onnxruntime", "torch", "tensorrt")
ROUNDED = ("int8", "int4", "int8-dynamic")
LIMIT = 600.0  # seconds for one check and one build
NOTE = (
    "Each spec is checked and then built without asking the check, from operators of opset 24. In ONNX Runtime a session opens at its "
    "four levels of optimisation and runs; a PyTorch archive is written, loaded, run at two points of the dims, and gives what its module "
    "gives; an engine is built, without a GPU. A precision counts where a spec has a layer that it rounds, a dtype where it has a value "
    "of that dtype. Specs are taken in a random order, and targets may be stopped before the last."
)


@dataclass(frozen=True)
class Case:
    """A spec as `lamina` is asked to check it. A random one is its number."""

    name: str
    target: str
    path: str = ""
    variant: str | None = None
    precision: str = "float32"

    @property
    def title(self) -> str:
        return self.target if self.precision == "float32" else f"{self.target} {self.precision}"


@dataclass(frozen=True)
class Shown:
    """What the check said and what the builder said, both empty where they take it; the dtypes of values; seconds of each."""

    refused: str = ""
    failed: str = ""
    dtypes: Sequence[str] = ()
    seconds: Sequence[float] = (0.0, 0.0)

    @property
    def finding(self) -> str:
        if bool(self.refused) == bool(self.failed):
            return ""
        return "false refusal" if self.refused else "false accept"


# In the process that builds.


def serve() -> None:
    """Answer cases, a line of JSON each."""
    import torch

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(asdict(shown(Case(**json.loads(line))))) + "\n")


def shown(case: Case) -> Shown:
    """Check and build one case."""
    from lamina.compiler.elaborate import elaborate
    from lamina.compiler.support import check_target

    with tempfile.TemporaryDirectory() as folder:
        spec = loaded(case, Path(folder))
        model = elaborate(spec)
        dtypes = {v.type.dtype for n in model.graph.all_nodes() for v in n.outputs if v.type is not None}
        began = time.perf_counter()
        refused = failure(lambda: check_target(spec, case.target, case.precision))  # type: ignore[arg-type]
        between = time.perf_counter()
        failed = failure(lambda: build(spec, model, case, Path(folder) / "bundle"))
        return Shown(refused, failed, sorted(dtypes), (between - began, time.perf_counter() - between))


def loaded(case: Case, folder: Path) -> Any:
    import lamina

    if case.path:
        spec = lamina.load(case.path, case.variant, small=True)
        return spec.model_copy(update={"weights": None, "tokenizer": None})
    drawn = numbered(int(case.name))
    return lamina.load(drawn.write(folder / case.name), drawn.variant)


def failure(work: Callable[[], None]) -> str:
    """What went wrong, if anything did."""
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def build(spec: Any, model: Any, case: Case, bundle: Path) -> None:
    """What `lamina compile --target` does, then a session of what it wrote, where this machine can run it."""
    import agree

    import lamina
    from lamina.runtime.manifest import OnnxTarget, read_manifest
    from lamina.runtime.rooms import Rooms

    lamina.compile(spec, bundle, [case.target], precision=case.precision)  # type: ignore[arg-type]
    manifest = read_manifest(bundle)
    points = list(agree.points(manifest))
    built = manifest.targets.built()[case.target]
    if isinstance(built, OnnxTarget):
        inputs = Rooms(manifest, built.preallocated).with_room(inputs_of(case, manifest, points[0]))
        for level in agree.LEVELS:
            agree.opened(bundle / built.file, level).run(None, inputs)
    elif case.target == "torch":
        with lamina.Session(bundle, backend="torch") as session:
            for point in points:
                compare(spec, model, inputs_of(case, manifest, point), session)


def inputs_of(case: Case, manifest: Any, point: Any) -> Any:
    """Random inputs. The zoo's integers may be ids of tables whose lengths no one can tell from the input's type."""
    import agree

    from lamina.runtime.samples import sample_inputs

    return sample_inputs(manifest, point) if case.path else agree.arrays(manifest, point)


def compare(spec: Any, model: Any, inputs: Any, session: Any) -> None:
    """An archive gives what the module gives that it was made of. Raises AssertionError."""
    import agree
    import numpy as np
    import torch

    from lamina.compiler.compile import weight_source
    from lamina.compiler.lower import lower
    from lamina.compiler.targets.torch import to_module
    from lamina.compiler.targets.torch.arrays import from_numpy

    module = to_module(lower(model.graph, "torch"), weight_source(spec, model, None, 0).weights).eval()
    torch.manual_seed(0)
    wanted = agree.run(module, {name: from_numpy(array) for name, array in inputs.items()})
    torch.manual_seed(0)
    for name, got in session.run(inputs).items():
        a, b = (array.astype(np.float64) for array in (got, wanted[name]))
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b[np.isfinite(b)]).max(initial=0), err_msg=name)


# In the process that counts.


class Builder:
    """The process that checks and builds, started again where it died or took too long."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, case: Case) -> Shown:
        if self.process is None:
            command = [sys.executable, __file__, "--serve"]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asdict(case)) + "\n")
        self.process.stdin.flush()
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if waiting.select(LIMIT) else ""
        if line:
            return Shown(**json.loads(line))
        self.close()
        return Shown(failed="the process died or took too long")

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def cases(seed: int, count: int, engines: int, targets: Sequence[str], zoo: bool) -> list[Case]:
    """Those of one spec together, and specs in a random order: what is done when it is stopped is a fair sample."""
    groups = [[Case(str(n), t) for t in targets if t != "tensorrt" or n < seed + engines] for n in range(seed, seed + count)]
    if zoo:
        groups += list(of_the_zoo(targets))
    Random(0).shuffle(groups)
    return [case for group in groups for case in group]


def of_the_zoo(targets: Sequence[str]) -> Iterator[list[Case]]:
    sys.path.append(str(Path(__file__).parent.parent / "zoo"))
    from zoo import files, model, small_cases

    from lamina.compiler.compile import in_blocks
    from lamina.compiler.weights.quantize import Quantizer

    for path in files():
        for found in small_cases(path):
            place = str(found), str(path), found.variant
            group = [Case(place[0], t, *place[1:]) for t in targets]
            graph = model(found).graph
            rounded = [p for p in ROUNDED if in_blocks(graph, "onnxruntime", Quantizer(None, p)).parameters() != graph.parameters()]  # type: ignore[arg-type]
            if "onnxruntime" in targets:
                group += [Case(place[0], "onnxruntime", *place[1:], precision=p) for p in rounded]
            yield group


def work(todo: Iterable[Case], jobs: int, out: TextIO) -> None:
    """Ask for each case; what it shows is a line, and a finding is printed."""
    builders: SimpleQueue[Builder] = SimpleQueue()
    for _ in range(jobs):
        builders.put(Builder())

    def one(case: Case) -> None:
        builder = builders.get()
        try:
            found = builder.ask(case)
        finally:
            builders.put(builder)
        out.write(json.dumps({"case": asdict(case), "shown": asdict(found)}) + "\n")
        out.flush()
        if found.finding:
            print(f"{case.name} {case.variant or ''} {case.title}: {found.finding}: {found.refused}{found.failed}", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        for _ in pool.map(one, todo):
            pass
    for _ in range(jobs):
        builders.get().close()


def results() -> dict[Case, Shown]:
    """What stands in the file."""
    file = FOLDER / "results.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
    return {Case(**line["case"]): Shown(**line["shown"]) for line in lines}


def figures(found: dict[Case, Shown]) -> dict[str, str | int | float]:
    """Counts of each target and dtype, and the rates."""
    told: dict[str, str | int | float] = {
        "random specs": len({c.name for c in found if not c.path}),
        "small variants of the zoo": len({(c.path, c.variant) for c in found if c.path}),
    }
    for title in dict.fromkeys(sorted((c.title for c in found), key=lambda t: (TARGETS.index(t.split()[0]), t))):
        asked = [c for c in found if c.title == title]
        shown = [found[c] for c in asked]
        count = Counter((bool(s.refused), bool(s.failed)) for s in shown)
        seconds = [sorted(s.seconds[i] for s in shown)[len(shown) // 2] for i in (0, 1)]
        told[f"{title}: random specs, variants of the zoo"] = f"{sum(not c.path for c in asked)}, {sum(bool(c.path) for c in asked)}"
        told[f"{title}: accepted and built, refused and not built"] = f"{count[False, False]}, {count[True, True]}"
        told[f"{title}: false accepts, false refusals"] = f"{count[False, True]}, {count[True, False]}"
        told[f"{title}: median seconds of a check and of a build"] = f"{seconds[0]:.2f}, {seconds[1]:.2f}"
    for dtype in sorted({d for s in found.values() for d in s.dtypes}):
        told[f"with {dtype}"] = sum(dtype in s.dtypes for s in found.values())
    accepted, refused = ([s for s in found.values() if bool(s.refused) == r] for r in (False, True))
    told["false accepts, of all that was accepted"] = f"{sum(bool(s.finding) for s in accepted) / max(len(accepted), 1):.2%}"
    built = max(sum(not s.failed for s in found.values()), 1)
    told["false refusals, of all that builds"] = f"{sum(bool(s.finding) for s in refused) / built:.2%}"
    return told


def keep(command: str, told: dict[str, str | int | float]) -> None:
    from lamina.compiler.targets.tensorrt import find

    record("sound", "What `lamina check --target` accepts builds", command, told, f"{NOTE} The engines are those of {find()}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="the number of the first random spec")
    parser.add_argument("--tensorrt", type=int, default=250, help="of how many of them engines are built")
    parser.add_argument("--zoo", action="store_true", help="the small variants of the zoo, too")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="do not again what results.jsonl has")
    parser.add_argument("--record", action="store_true", help="keep the figures")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve()
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    known = results() if asked.resume else {}
    todo = [c for c in cases(asked.seed, asked.count, asked.tensorrt, asked.targets, asked.zoo) if c not in known]
    with (FOLDER / "results.jsonl").open("a" if asked.resume else "w", encoding="utf-8") as out:
        work(todo, asked.jobs, out)
    told = figures(results())
    print("\n".join(f"{name}: {figure}" for name, figure in told.items()))
    if asked.record:
        command = f"python tests/trust/sound.py --seed {asked.seed} --count {asked.count} --tensorrt {asked.tensorrt}{' --zoo' * asked.zoo}"
        keep(command, told)


if __name__ == "__main__":
    main()
