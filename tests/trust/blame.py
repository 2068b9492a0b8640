"""Is `lamina verify --blame` right? One step of a spec is lowered wrongly, at random, and the step that is blamed compared with it.

python tests/trust/blame.py [--count 200] [--seed 0] [--only NUMBER] [--jobs 2] [--seconds N] [--dry]
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))

import numpy as np
from trust import record
from zoo import files, small_case

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Constant, Node, Value
from lamina.compiler.op import Op
from lamina.compiler.passes.decompose import _Decomposition
from lamina.schema.diagnostics import SpecError
from lamina.schema.dims import FLOATS, TensorType
from lamina.schema.spec import ModelSpec
from lamina.verify import Report, sample_points, verify

TARGETS = ("onnx", "onnxruntime", "torch")
NOTE = (
    "A step of a small spec of the zoo, drawn at random, in loops as well, is lowered to y * a + b for one target (or to NaN), "
    "and `lamina verify --blame` is asked which it was. It must name that very step, not one beside it."
)
# y becomes y * a + b, which is never y: an output of neurons may be 0 everywhere.
FAULTS = ((1.02, 0.01), (0.5, 0.1), (1.0, 0.1), (-1.0, 0.1), (float("nan"), 0.0))


@dataclass(frozen=True)
class Fault:
    """A wrong lowering of the step at a path, for one target."""

    spec: ModelSpec
    target: str
    path: str
    scale: float
    shift: float

    def __str__(self) -> str:
        return f"{self.spec.path.stem}: {self.path} for {self.target}: y * {self.scale} + {self.shift}"


def drawn(seed: int, number: int) -> Fault:
    """A fault in one of the zoo's small specs: each of them in its turn."""
    paths = list(files())
    random.Random(seed).shuffle(paths)
    chance, spec = random.Random(f"{seed}:{number}"), small_case(paths[number % len(paths)]).spec()
    steps = [node for node in elaborate(spec).graph.all_nodes() if any(v.type is not None and v.dtype in FLOATS for v in node.outputs)]
    return Fault(spec, chance.choice(TARGETS), chance.choice(steps).origin.path, *chance.choice(FAULTS))


@contextmanager
def injected(fault: Fault) -> Iterator[list[str]]:
    """While it lasts, the step is lowered wrongly; says where it was."""
    lower, done = _Decomposition._lower, list[str]()

    def wrongly(self: _Decomposition, node: Node, op: Op) -> list[Node]:
        made = lower(self, node, op)
        if node.origin.path != fault.path or self.target != fault.target:
            return made
        spoilt = [_spoilt(inner, fault) if inner.outputs[0] in node.outputs and _is_float(inner.outputs[0]) else [inner] for inner in made]
        done.extend(node.origin.path for nodes in spoilt if len(nodes) > 1)
        return [inner for nodes in spoilt for inner in nodes]

    with mock.patch.object(_Decomposition, "_lower", wrongly):
        yield done


def _is_float(value: Value) -> bool:
    return value.type is not None and value.dtype in FLOATS


def _spoilt(node: Node, fault: Fault) -> list[Node]:
    first, *rest = node.outputs
    right, scaled = (Value(f"{first.name}/{part}", first.type) for part in ("right", "scaled"))
    a, b = (Constant(f"{first.name}/{n}", TensorType(first.dtype, ()), np.array(n, first.dtype)) for n in (fault.scale, fault.shift))
    wrong = [Node("Mul", (right, a), (scaled,), node.origin, op=node.op), Node("Add", (scaled, b), (first,), node.origin, op=node.op)]
    return [replace(node, outputs=(right, *rest)), *wrong]


def blamed(fault: Fault, folder: Path) -> str | None:
    """The path that is blamed; None where the fault cannot be put in, as nothing is made of the step or it makes nothing new."""
    with injected(fault) as done:
        bundle = lamina.compile(fault.spec, folder / "bundle", [fault.target])  # type: ignore[list-item]
        if not done:
            return None
        report = _verified(bundle)
    return next((c.divergences[0].path for c in report.comparisons if c.divergences), "nothing")


def _verified(bundle: Path) -> Report:
    """At one point of the dims, the largest: a fault is in every one, but where there is no image, say, a step does nothing."""
    with mock.patch("lamina.verify.sample_points", lambda manifest: [*sample_points(manifest)][-1:]):
        return verify(bundle, blame=True)


def unsound(fault: Fault, folder: Path) -> str:
    """What is wrong with the spec on the target without the fault; nothing of one that verifies. Raises SpecError if it is refused."""
    try:
        report = _verified(lamina.compile(fault.spec, folder / "bundle", [fault.target]))  # type: ignore[list-item]
    except SpecError as error:
        if not (folder / "bundle").exists():
            raise
        return f"SpecError: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "" if report.passed else "it does not verify"


@dataclass(frozen=True)
class Outcome:
    """What came of a fault: `right`, `wrong`, `not put in`, `refused` or `unsound`, the last two without the fault, too."""

    number: int
    target: str
    end: str
    text: str = ""


def attempt(seed: int, number: int) -> Outcome:
    """Put a fault in. What goes wrong is tried without it."""
    fault = drawn(seed, number)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = blamed(fault, Path(folder))
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
    if found is None or found == fault.path:
        return Outcome(number, fault.target, "not put in" if found is None else "right")
    with tempfile.TemporaryDirectory() as folder:
        try:
            reason = unsound(fault, Path(folder))
        except SpecError as refusal:
            return Outcome(number, fault.target, "refused", f"{fault}: {refusal}")
    return Outcome(number, fault.target, "unsound" if reason else "wrong", f"{fault}\n  {reason or f'blamed: {found}'}")


def outcomes(count: int, seed: int, jobs: int, end: float) -> list[Outcome]:
    """Of faults, until so many were put in, or a time of the clock; what is not right is said at once.

    In the order in which they end: PyTorch takes half an hour to load one of the programs.
    """
    found: list[Outcome] = []
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for outcome in pool.imap_unordered(partial(attempt, seed), itertools.count()):
            found.append(outcome)
            right, wrong = (sum(o.end == what for o in found) for what in ("right", "wrong"))
            if outcome.text:
                print(f"{outcome.number} {outcome.end}: {outcome.text}", flush=True)
            print(f"{right} of {right + wrong}", flush=True)
            if right + wrong == count or time.monotonic() > end:
                pool.terminate()
                return found
    raise AssertionError


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--count", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--only", type=int, help="the fault of this number alone")
    arguments.add_argument("--jobs", type=int, default=2, help="processes")
    arguments.add_argument("--seconds", type=float, default=float("inf"), help="stop then, whatever the count")
    arguments.add_argument("--dry", action="store_true", help="keep no figures")
    options = arguments.parse_args()
    if options.only is not None:
        print(attempt(options.seed, options.only))
        return 0
    start = time.monotonic()
    found = outcomes(options.count, options.seed, options.jobs, start + options.seconds)
    ends = Counter((o.target, o.end) for o in found)
    tried = {target: ends[target, "right"] + ends[target, "wrong"] for target in TARGETS}
    right = sum(ends[target, "right"] for target in TARGETS)
    figures = {
        **{f"{target}: faults, and the right step blamed": f"{tried[target]}, {ends[target, 'right']}" for target in TARGETS},
        "right": f"{100 * right / sum(tried.values()):.1f}%",
        "not put in, since nothing is made of the step": sum(o.end == "not put in" for o in found),
        "refused by the target without a fault": sum(o.end == "refused" for o in found),
        "found on the way: do not verify without a fault": sum(o.end == "unsound" for o in found),
        "seconds in all": round(time.monotonic() - start),
    }
    print(figures)
    if not options.dry:
        record("blame", "The right line", f"python tests/trust/blame.py --count {sum(tried.values())} --seed {options.seed}", figures, NOTE)
    return right < 0.95 * sum(tried.values())


if __name__ == "__main__":
    sys.exit(main())
