"""Is `lamina verify --blame` right? One step of a spec is lowered wrongly, at random, and the step that is blamed compared with it.

python tests/trust/blame.py [--count 200] [--seed 0] [--dry]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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


def faults(seed: int) -> Iterator[Fault]:
    """Of the zoo's small specs, one after the other."""
    chance = random.Random(seed)
    cases = [small_case(path) for path in files()]
    chance.shuffle(cases)
    while True:
        for case in cases:
            spec = case.spec()
            steps = [
                node for node in elaborate(spec).graph.all_nodes() if any(v.type is not None and v.dtype in FLOATS for v in node.outputs)
            ]
            yield Fault(spec, chance.choice(TARGETS), chance.choice(steps).origin.path, *chance.choice(FAULTS))


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
    bundle = lamina.compile(fault.spec, folder / "bundle", [fault.target])  # type: ignore[list-item]
    try:
        report = _verified(bundle)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "" if report.passed else "it does not verify"


@dataclass
class Tally:
    """What came of the faults: by target how many were tried and rightly blamed, and what does not work without a fault."""

    tried: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    unsound: dict[str, str] = field(default_factory=dict)

    def attempt(self, fault: Fault) -> None:
        """Put a fault in and count it. What goes wrong is tried without it: that is then a finding, and else the blame's mistake."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = blamed(fault, Path(folder))
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
        if found is None:
            return
        if found != fault.path:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    reason = unsound(fault, Path(folder))
            except SpecError as refusal:
                print(f"\n{fault}\n  refused without the fault, too: {refusal}", flush=True)
                return
            print(f"\n{fault}\n  blamed: {found}{reason and f', and without the fault: {reason}'}", flush=True)
            if reason:
                self.unsound[f"{fault.spec.path.stem} on {fault.target}"] = reason
                return
        self.tried[fault.target] += 1
        self.right[fault.target] += found == fault.path


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--count", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--dry", action="store_true", help="keep no figures")
    options = arguments.parse_args()
    start, tally = time.monotonic(), Tally()
    for fault in faults(options.seed):
        tally.attempt(fault)
        print(f"\r{tally.right.total()} of {tally.tried.total()}", end="", flush=True)
        if tally.tried.total() == options.count:
            break
    figures = {f"{target}: faults, and the right step blamed": f"{tally.tried[target]}, {tally.right[target]}" for target in TARGETS}
    share = 100 * tally.right.total() / options.count
    sound = {"specs that do not verify without a fault": ", ".join(sorted(tally.unsound)) or 0, "seconds in all": round(time.monotonic() - start)}
    if not options.dry:
        command = f"python tests/trust/blame.py --count {options.count} --seed {options.seed}"
        record("blame", "The right line", command, {**figures, "right": f"{share:.1f}%", **sound})
    return bool(tally.unsound) or share < 95


if __name__ == "__main__":
    sys.exit(main())
