"""Random specs: PyTorch's module and ONNX Runtime at every level of optimisation against float64, within a bound that is derived.

    python tests/trust/agree.py [--count 5000] [--seed 0] [--tensorrt 100] [--exported 50] [--jobs 2] [--record]
    python tests/trust/agree.py --spec FILE [--variant NAME] | --shrink NUMBER

A target may be off by `SLACK` times what rounding may do at most (`rounding.py` says how that is found), some units in the last place of
the largest magnitude, and what float64 itself rounds of numbers around 1. Findings go to build/fuzz.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from random_specs import Drawn, numbered, simpler
from rounding import Judge, run
from trust import record

import lamina
from lamina.compiler.registry import op_names
from lamina.compiler.support import check_target
from lamina.compiler.targets.torch.arrays import from_numpy
from lamina.runtime.backend import Options
from lamina.runtime.manifest import Manifest, OnnxTarget, read_manifest
from lamina.runtime.native import library
from lamina.runtime.rooms import Rooms
from lamina.runtime.samples import sample_inputs
from lamina.runtime.torch import TorchBackend
from lamina.schema.diagnostics import SpecError
from lamina.schema.dims import INTEGERS

Array = np.ndarray[Any, Any]
SLACK, ULPS = 16, 4
DOUBLE = 2.0**-46
WIDE = {"float16": 1e-1, "bfloat16": 0.5}  # relative; of others 1e-2: a bound above it says little
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
BATCH = 100  # specs of one seed
FOLDER = Path("build/fuzz")
NOTE = (
    "Each spec is compiled three times, once in another process with another hash seed, and run at two points of its dims by PyTorch's "
    "module and by ONNX Runtime at its four levels of optimisation of both files. A bound is wide above 1e-2 of the largest magnitude "
    "(float16: 1e-1). A spec that ONNX Runtime has no kernel for is refused at its line; PyTorch is held against float64 all the same. "
    "Not drawn: bfloat16, which ONNX Runtime's Python interface cannot take; random numbers (`noise`, dropout in train mode); weights "
    "from a checkpoint, adapters, and weights in 8 or 4 bits, which have tests of their own."
)


class Disagreement(Exception):
    """A finding."""


@dataclass(frozen=True)
class Checked:
    """What one spec showed: its bundle's bytes, what refused it, whether a bound was wide, the largest error as a share of its bound."""

    bytes: Mapping[str, str]
    refused: tuple[str, ...] = ()
    wide: bool = False
    worst: float = 0.0


# One spec.


def check(path: Path, variant: str | None, *, exported: bool = False) -> Checked:
    """Hold a spec's targets against float64, with `exported` the archive of PyTorch's program too. Raises Disagreement."""
    spec = lamina.load(path, variant)
    with tempfile.TemporaryDirectory() as folder:
        bundle = lamina.compile(spec, Path(folder) / "a")
        again = lamina.compile(spec, Path(folder) / "b")
        written = digest(bundle)
        if written != digest(again):
            raise Disagreement("compiled twice, the bundles differ")
        manifest = read_manifest(bundle)
        judge, module = Judge(spec), lamina.to_torch(spec).eval()
        refused, sessions = [], {}
        program = _program(spec, Path(folder) / "c") if exported else None
        for target in ("onnx", "onnxruntime"):
            built = manifest.targets.built()[target]
            assert isinstance(built, OnnxTarget)
            try:
                check_target(spec, target)
            except SpecError as error:
                if not all(d.span.line > 1 or d.span.column for d in error.diagnostics):
                    raise Disagreement(f"{target} refuses without a place: {error}") from error
                refused.append(target)
                continue
            for level in LEVELS:
                sessions[f"{target} {level}"] = (opened(bundle / built.file, level), Rooms(manifest, built.preallocated))
        wide, worst = False, 0.0
        for point in points(manifest):
            inputs = arrays(manifest, point)
            exact, noisy = judge.outputs(inputs)
            found = {"PyTorch": run(module, {k: from_numpy(v) for k, v in inputs.items()})}
            if program is not None:
                found["PyTorch's program"] = program.run(inputs)
            for name, (session, rooms) in sessions.items():
                names = [o.name for o in session.get_outputs()]
                found[name] = dict(zip(names, session.run(names, rooms.with_room(inputs)), strict=True))
            declared = {t.name: t.dtype for t in manifest.outputs}
            for name, want in exact.items():
                limit, sure = bound(want, [n[name] for n in noisy], declared[name])
                scale = float(np.abs(want[sure], dtype=np.float64).max(initial=0)) if want.dtype.kind == "f" else float(want.size)
                wide |= limit > WIDE.get(declared[name], 1e-2) * scale and scale > 0
                for target, got in found.items():
                    worst = max(worst, compare(f"{target} at {point}: {name}", got[name], want, limit, sure, declared[name]))
        return Checked(written, tuple(refused), bool(wide), worst)


def _program(spec: Any, folder: Path) -> TorchBackend:
    """The exported program, as a session runs it."""
    bundle = lamina.compile(spec, folder, ["torch"])
    manifest = read_manifest(bundle)
    assert manifest.targets.torch is not None
    return TorchBackend(bundle / manifest.targets.torch.file, manifest, Options())


def bound(want: Array, noisy: list[Array], dtype: str) -> tuple[float, Array]:
    """The error that rounding may make (of integers and bools, how many it may change), and where it leaves kinds as they are."""
    sure = np.ones(want.shape, bool)
    spread = 0.0
    for other in noisy:
        if want.dtype.kind != "f":
            spread = max(spread, float(np.sum(other != want)))
            continue
        finite = np.isfinite(want) & np.isfinite(other)
        sure &= finite | (want == other) | (np.isnan(want) & np.isnan(other))
        spread = max(spread, float(np.abs(other - want, where=finite, out=np.zeros_like(want)).max(initial=0)))
    if want.dtype.kind != "f":
        return SLACK * spread, sure
    size = float(np.abs(want[np.isfinite(want)]).max(initial=0))
    info = torch.finfo(getattr(torch, dtype))
    return SLACK * spread + ULPS * max(info.eps * size, info.tiny) + DOUBLE, sure


def compare(what: str, got: Array, want: Array, limit: float, sure: Array, dtype: str) -> float:
    """The largest error as a share of the limit. Raises Disagreement."""
    if got.shape != want.shape or got.dtype.name != dtype:
        raise Disagreement(f"{what} is {got.dtype.name}{list(got.shape)}, and should be {dtype}{list(want.shape)}")
    if want.dtype.kind != "f":
        wrong = int(np.sum(got != want))
        if wrong > limit:
            raise Disagreement(f"{what}: {wrong} of {want.size} elements differ, where rounding explains {limit:.0f}")
        return wrong / limit if limit else 0.0
    got = got.astype(np.float64)
    finite = np.isfinite(want) & sure
    same = np.isfinite(got) | (np.abs(want) > 0.9 * torch.finfo(getattr(torch, dtype)).max)
    kinds = np.where(finite, same, (got == want) | (np.isnan(got) & np.isnan(want)) | ~sure)
    if not kinds.all():
        at = np.unravel_index(np.argmin(kinds), kinds.shape) if kinds.ndim else ()
        raise Disagreement(f"{what}: {got[at]} at {list(map(int, at))}, and float64 has {want[at]}")
    both = finite & np.isfinite(got)
    error = float(np.abs(got - want, where=both, out=np.zeros_like(want)).max(initial=0))
    if error > limit:
        size = np.abs(want[finite]).max(initial=0)
        raise Disagreement(f"{what}: off by {error:.2e}, where rounding explains {limit:.2e} (largest magnitude {size:.2e})")
    return error / limit if limit else 0.0


def opened(path: Path, level: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.log_severity_level, options.intra_op_num_threads, options.inter_op_num_threads = 3, 1, 1
    options.register_custom_ops_library(str(library()))
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def points(manifest: Manifest) -> Iterator[dict[str, int]]:
    """All dims at their smallest, and one step above."""
    yield {n: r.min for n, r in manifest.dims.items()}
    if manifest.dims:
        yield manifest.fitting({n: min(r.max, r.min + r.multiple_of) for n, r in manifest.dims.items()})


def arrays(manifest: Manifest, point: Mapping[str, int]) -> dict[str, Array]:
    """Random inputs; integers of both signs, where they are no indices."""
    found = sample_inputs(manifest, point)
    for spec in manifest.inputs:
        if spec.dtype in INTEGERS and spec.below is None:
            rng = np.random.default_rng(list(spec.name.encode()))
            low = 0 if spec.dtype == "uint8" else -6
            found[spec.name] = rng.integers(low, 7, found[spec.name].shape).astype(spec.dtype)
    return found


def digest(bundle: Path) -> dict[str, str]:
    return {p.relative_to(bundle).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(bundle.rglob("*")) if p.is_file()}


def digests(files: list[str]) -> dict[str, Any]:
    """Of the bundles of these specs, each with its variant after a colon."""
    found = {}
    for file in files:
        path, _, variant = file.partition(":")
        with tempfile.TemporaryDirectory() as folder:
            found[file] = digest(lamina.compile(lamina.load(path, variant or None), Path(folder) / "a"))
    return found


def builds(path: Path, variant: str | None) -> bool:
    """Whether TensorRT takes it; SpecError with places is a refusal. Raises Disagreement."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            lamina.compile(lamina.load(path, variant), Path(folder) / "a", ["tensorrt"])
        except SpecError as error:
            if not all(d.span.line > 1 for d in error.diagnostics):
                raise Disagreement(f"TensorRT refuses without a line: {error}") from error
            return False
    return True


# Many specs.


class Run:
    """A batch after the other, and what is found."""

    def __init__(self, tensorrt: int = 0, exported: int = 0) -> None:
        self.tensorrt, self.exported = tensorrt, exported
        self.tally: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.worst, self.seconds = 0.0, 0.0

    def batch(self, numbers: Sequence[int], folder: Path) -> None:
        found = []
        for number in numbers:
            drawn = numbered(number)
            path = drawn.write(folder / str(number))
            self.tally["specs"] += 1
            self.kinds.update(drawn.count.keys())
            if (written := self.one(number, path, drawn)) is not None:
                found.append((path, drawn, written))
        self.again(found)

    def add(self, other: Run) -> None:
        """What another one found, too."""
        self.tally.update(other.tally)
        self.kinds.update(other.kinds)
        self.worst, self.seconds = max(self.worst, other.worst), self.seconds + other.seconds

    def one(self, number: int, path: Path, drawn: Drawn) -> Mapping[str, str] | None:
        """The bytes of its bundle, if there is nothing wrong with it."""
        try:
            exported = bool(self.exported) and number % self.exported == 0
            shown = check(path, drawn.variant, exported=exported)
            self.tally["programs exported"] += exported
            self.tally.update({f"refused by {target}": 1 for target in shown.refused})
            self.tally["wide bounds"] += shown.wide
            self.worst = max(self.worst, shown.worst)
            if self.tensorrt and number % self.tensorrt == 0:
                self.tally["engines built" if builds(path, drawn.variant) else "engines refused with a line"] += 1
        except Exception as error:
            self.tally["findings"] += 1
            self.keep(path, drawn, str(error) if isinstance(error, Disagreement | SpecError) else traceback.format_exc())
            return None
        return shown.bytes

    def again(self, found: Sequence[tuple[Path, Drawn, Mapping[str, str]]]) -> None:
        """All of a batch compiled by another process, with another seed of hashes: the same bytes."""
        if not found:
            return
        files = [f"{path}:{drawn.variant or ''}" for path, drawn, _ in found]
        command = [sys.executable, __file__, "--digests", *files]
        shown = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True)
        there = json.loads(shown.stdout)
        for file, (path, drawn, here) in zip(files, found, strict=True):
            if there[file] != here:
                self.tally["findings"] += 1
                self.keep(path, drawn, f"another process makes other bytes: {sorted(set(there[file].items()) ^ set(here.items()))}")

    def keep(self, path: Path, drawn: Drawn, message: str) -> None:
        lines = "".join(f"# {line}\n" for line in [f"variant: {drawn.variant}", *message.splitlines()])
        replace(drawn, text=lines + drawn.text).write(FOLDER / path.parent.name)

    def figures(self) -> dict[str, str | int | float]:
        ops = sorted((n, name) for name, n in self.kinds.items() if name in op_names())
        parts = sorted((n, name) for name, n in self.kinds.items() if name not in op_names())
        return {
            **self.tally,
            "findings": self.tally["findings"],
            "largest error, as a share of its bound": round(self.worst, 3),
            "ops drawn": f"{len(ops)} of {len(op_names())}, each in {ops[0][0]} specs or more ({ops[0][1]})",
            "structures drawn": ", ".join(f"{name} {n}" for n, name in reversed(parts)),
            "CPU seconds": round(self.seconds),
        }

    def line(self) -> str:
        tally = ", ".join(f"{k} {v}" for k, v in sorted(self.tally.items()))
        return f"{tally}, largest error {self.worst:.2f} of the bound, {self.seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0, help="the number of the first spec")
    parser.add_argument("--tensorrt", type=int, default=0, help="try TensorRT on one spec of so many")
    parser.add_argument("--exported", type=int, default=0, help="export PyTorch's program of one spec of so many")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--record", action="store_true", help="keep the figures")
    parser.add_argument("--spec", type=Path, help="check this file alone")
    parser.add_argument("--variant")
    parser.add_argument("--shrink", type=int, help="write a simpler spec that fails like the one of this number")
    parser.add_argument("--digests", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.digests:
        print(json.dumps(digests(asked.digests)))
    elif asked.spec:
        print(check(asked.spec, asked.variant))
    elif asked.shrink is not None:
        shrink(asked.shrink)
    else:
        many(asked)


def many(asked: argparse.Namespace) -> None:
    run, end = Run(), asked.seed + asked.count
    batches = [range(start, min(start + BATCH, end)) for start in range(asked.seed, end, BATCH)]
    with ProcessPoolExecutor(asked.jobs, get_context("spawn")) as pool:
        for found in pool.map(partial(_batch, asked.tensorrt, asked.exported), batches):
            run.add(found)
            print(f"\r{run.line()}", end="", file=sys.stderr, flush=True)
    print(f"\nnever drawn: {sorted(op_names() - run.kinds.keys()) or 'nothing'}")
    print(", ".join(f"{kind} {n}" for kind, n in sorted(run.kinds.items(), key=lambda pair: -pair[1])))
    if asked.record:
        options = f"--seed {asked.seed} --count {asked.count} --tensorrt {asked.tensorrt} --exported {asked.exported}"
        record("agree", "Random specs", f"python tests/trust/agree.py {options}", run.figures(), NOTE)


def _batch(tensorrt: int, exported: int, numbers: Sequence[int]) -> Run:
    torch.set_num_threads(1)
    began, run = _cpu(), Run(tensorrt, exported)
    with tempfile.TemporaryDirectory() as folder:
        run.batch(numbers, Path(folder))
    run.seconds = _cpu() - began
    return run


def _cpu() -> float:
    """Seconds of the processor, those of processes that have ended too."""
    return sum(os.times()[:4])


def shrink(number: int) -> None:
    """Print a simpler spec that fails with the same kind of message."""
    with tempfile.TemporaryDirectory() as folder:

        def failure(drawn: Drawn) -> str:
            try:
                check(drawn.write(Path(folder)), drawn.variant)
            except SpecError:
                return ""
            except Exception as error:
                return re.sub(r"\w*\d\S*", "", str(error))[:60]
            return ""

        first = numbered(number)
        wanted = failure(first)
        small = simpler(first, lambda drawn: failure(drawn) == wanted)
        print(f"# variant: {small.variant}; {wanted}\n{small.text}{small.base and '# its base:'}\n{small.base}")


if __name__ == "__main__":
    main()
