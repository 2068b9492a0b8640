"""Random specs: PyTorch's module and ONNX Runtime at every level of optimisation against float64, within a bound that is derived.

    python tests/trust/agree.py [--count 5000] [--seed 0] [--tensorrt 100] [--record] | --spec FILE [--variant NAME] | --shrink NUMBER

The bound is that of Monte Carlo arithmetic. The float64 program runs again and again, each number that an operator reads or makes changed
by a random relative 2^-23 (float32; 2^-10 for float16), and rounded to its dtype: what that spreads is what rounding may do. Once more it
runs with sums that cancel wholly, those inside operators too: what a sum leaves below one unit in the last place of its tensor's largest
magnitude is 0, as it is for who adds in another order, which no random number ever is, and a step such as floor may stand there. A target
may be off by `SLACK` times the largest spread, some units in the last place of the largest magnitude, and what float64 itself rounds of
numbers around 1. Findings go to build/fuzz.
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
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from random_specs import Drawn, numbered, simpler
from trust import record

import lamina
from lamina.compiler.compile import weight_source
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Constant, Graph, Node, Value
from lamina.compiler.passes.decompose import decompose
from lamina.compiler.passes.drop_identity import drop_identity
from lamina.compiler.registry import op_names
from lamina.compiler.support import check_target
from lamina.compiler.targets.torch import registry
from lamina.compiler.targets.torch.arrays import from_numpy, to_numpy
from lamina.compiler.targets.torch.module import LaminaModule
from lamina.runtime.manifest import Manifest, OnnxTarget, read_manifest
from lamina.runtime.native import library
from lamina.runtime.rooms import Rooms
from lamina.runtime.samples import sample_inputs
from lamina.schema.diagnostics import SpecError
from lamina.schema.dims import INTEGERS

Array = np.ndarray[Any, Any]
SLACK, RUNS, ULPS = 16, 3, 4
DOUBLE = 2.0**-46
WIDE = {"float16": 1e-1, "bfloat16": 0.5}  # relative; of others 1e-2: a bound above it says little
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
BATCH = 100  # specs of one seed
FOLDER = Path("build/fuzz")
# What moves numbers, or chooses one of them, rounds nothing.
MOVING = (
    "Abs Neg Relu Max Min Where Gather GatherElements GatherND Concat Split Slice Reshape Transpose Expand Squeeze Unsqueeze Tile Flatten "
    "Identity Cast CastLike Pad DepthToSpace SpaceToDepth ScatterElements ScatterND Shape Size Range ConstantOfShape Trilu TopK ArgMax "
    "ArgMin MaxPool ReduceMax ReduceMin Floor Ceil Round Sign Clip Scan Loop If OneHot EyeLike Constant IsNaN IsInf Not And Or Xor Equal "
    "Greater Less GreaterOrEqual LessOrEqual ReverseSequence Dropout Compress NonZero"
)
EXACT = frozenset(MOVING.split())
ADDING = (
    "Add Sub Sum MatMul Gemm Conv ConvTranspose Einsum ReduceSum ReduceMean AveragePool GlobalAveragePool CumSum DFT "
    "Gelu Elu Celu Selu Mish Softplus LayerNormalization GroupNormalization InstanceNormalization BatchNormalization Attention"
)
SUMS = frozenset(ADDING.split())
NOTE = (
    "Each spec is compiled three times, once in another process with another hash seed, and run at two points of its dims by PyTorch's "
    "module and by ONNX Runtime at its four levels of optimisation of both files. A bound is wide above 1e-2 of the largest magnitude "
    "(float16: 1e-1). A spec that ONNX Runtime has no kernel for is refused at its line; PyTorch is held against float64 all the same."
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


# Monte Carlo arithmetic.

_SEEN: dict[str, torch.dtype] = {}
_NOISE: list[torch.Generator | None] = []  # none: note dtypes; without a generator: sums cancel


@registry.lowering("torch.rounded")
def rounded(x: torch.Tensor, *, key: str, sums: bool) -> torch.Tensor:
    """x as a dtype might round it, or, while dtypes are being noted, x. `sums`: a sum made it."""
    if not x.is_floating_point():
        return x
    if not _NOISE:
        _SEEN[key] = x.dtype
        return x
    dtype = _SEEN.get(key, torch.float64)
    unit = torch.finfo(dtype).eps
    if _NOISE[0] is not None:
        x = x * (1 + unit * (2 * torch.rand(x.shape, generator=_NOISE[0], dtype=x.dtype) - 1))
    elif sums and x.numel():
        x = torch.where(x.abs() < unit * x.abs().nan_to_num(0.0, 0.0).max(), 0.0, x)
    return x.to(dtype).to(x.dtype)


def with_rounding(graph: Graph, prefix: str = "") -> Graph:
    """The graph with each number rounded that an operator reads or makes, but for those that compute nothing."""
    nodes: list[Node] = []
    sizes = _of_sizes(graph)

    def around(value: Value, origin: Any, result: Value | None = None, sums: bool = False) -> Value:
        key = f"{prefix}{len(nodes)}"
        made = result or Value(f"rounded.{key}", value.type)
        nodes.append(Node("rounded", (value,), (made,), origin, {"key": key, "sums": sums}, domain="torch"))
        return made

    for node in graph.nodes:
        if node.op_type in EXACT or id(node) in sizes:
            nodes.append(node.with_bodies(lambda body: with_rounding(body, f"{prefix}{len(nodes)}.")))
            continue
        fixed = [_sizes(node, i) or (isinstance(v, Constant) and v.array.dtype.kind in "iub") for i, v in enumerate(node.inputs)]
        inputs = tuple(v if v is None or f else around(v, node.origin) for v, f in zip(node.inputs, fixed, strict=True))
        attributes = {k: float(np.float32(v)) if isinstance(v, float) else v for k, v in node.attributes.items()}
        raw = tuple(Value(f"raw.{v.name}", v.type) for v in node.outputs)
        nodes.append(replace(node, inputs=inputs, outputs=raw, attributes=attributes))
        for before, after in zip(raw, node.outputs, strict=True):
            around(before, node.origin, after, node.op_type in SUMS)
    return replace(graph, nodes=tuple(nodes))


def _of_sizes(graph: Graph) -> set[int]:
    """The nodes that compute sizes and scales, by identity: rounding these would change shapes."""
    found: set[int] = set()
    wanted: set[int] = set()
    for node in reversed(list(graph.all_nodes())):
        sizes = any(id(v) in wanted for v in node.outputs)
        if sizes:
            found.add(id(node))
        wanted.update(id(v) for i, v in enumerate(node.inputs) if sizes or _sizes(node, i))
    return found


def _sizes(node: Node, place: int) -> bool:
    """Whether an operator reads an input as sizes, axes or scales."""
    known = registry.find(node.op_type)
    return known is not None and known.kind(place) in (registry.Kind.INTS, registry.Kind.FLOATS)


class Judge:
    """The float64 program of a spec, and how far rounding may lead from it."""

    def __init__(self, spec: Any) -> None:
        model = elaborate(spec)
        graph = drop_identity(decompose(model.graph, "definition"))
        weights = weight_source(spec, model, None, 0).weights
        noisy = with_rounding(graph)
        self.exact = LaminaModule(graph, weights, wide=True).eval()
        self.narrow = LaminaModule(noisy, weights).eval()
        self.noisy = LaminaModule(noisy, weights, wide=True).eval()

    def outputs(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], list[dict[str, Array]]]:
        """The exact outputs, and some rounded ones."""
        tensors = {k: from_numpy(v) for k, v in inputs.items()}
        wide = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}
        _SEEN.clear()
        _NOISE.clear()
        run(self.narrow, tensors)
        exact = run(self.exact, wide)
        _NOISE[:] = [torch.Generator().manual_seed(0)]
        noisy = [run(self.noisy, wide) for _ in range(RUNS)]
        _NOISE[:] = [None]
        return exact, [*noisy, run(self.noisy, wide)]


def run(module: LaminaModule, tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    with torch.inference_mode():
        result = module(*(tensors[name] for name in module.input_names))
    listed = result if isinstance(result, dict) else {module.output_names[0]: result}
    return {name: to_numpy(value) for name, value in listed.items()}


# One spec.


def check(path: Path, variant: str | None) -> Checked:
    """Hold a spec's targets against float64. Raises Disagreement."""
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
        yield {n: min(r.max, r.min + r.multiple_of) for n, r in manifest.dims.items()}


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

    def __init__(self, tensorrt: int) -> None:
        self.tensorrt = tensorrt
        self.tally: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.worst, self.began = 0.0, time.process_time()

    def batch(self, numbers: Sequence[int], folder: Path) -> None:
        found = []
        for number in numbers:
            drawn, path = numbered(number), folder / f"{number}.yaml"
            path.write_text(drawn.text, encoding="utf-8")
            self.tally["specs"] += 1
            self.kinds.update(drawn.count.keys())
            if (written := self.one(path, drawn)) is not None:
                found.append((path, drawn, written))
        self.again(found)
        print(f"\r{numbers[-1]}: {self.line()}", end="", file=sys.stderr, flush=True)

    def one(self, path: Path, drawn: Drawn) -> Mapping[str, str] | None:
        """The bytes of its bundle, if there is nothing wrong with it."""
        try:
            shown = check(path, drawn.variant)
            self.tally.update({f"refused by {target}": 1 for target in shown.refused})
            self.tally["wide bounds"] += shown.wide
            self.worst = max(self.worst, shown.worst)
            if self.tensorrt and self.tally["specs"] % self.tensorrt == 0:
                self.tally["engines built" if builds(path, drawn.variant) else "engines refused with a line"] += 1
        except Exception as error:
            self.tally["findings"] += 1
            self.keep(path, drawn, str(error) if isinstance(error, Disagreement | SpecError) else traceback.format_exc())
            return None
        return shown.bytes

    def again(self, found: Sequence[tuple[Path, Drawn, Mapping[str, str]]]) -> None:
        """All of a batch compiled by another process, with another seed of hashes: the same bytes."""
        files = [f"{path}:{drawn.variant or ''}" for path, drawn, _ in found]
        command = [sys.executable, __file__, "--digests", *files]
        shown = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True)
        there = json.loads(shown.stdout)
        for file, (path, drawn, here) in zip(files, found, strict=True):
            if there[file] != here:
                self.tally["findings"] += 1
                self.keep(path, drawn, f"another process makes other bytes: {sorted(set(there[file].items()) ^ set(here.items()))}")

    def keep(self, path: Path, drawn: Drawn, message: str) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"# {line}\n" for line in [f"variant: {drawn.variant}", *message.splitlines()])
        (FOLDER / path.name).write_text(lines + drawn.text, encoding="utf-8")

    def figures(self) -> dict[str, str | int | float]:
        ops = sorted((n, name) for name, n in self.kinds.items() if name in op_names())
        parts = sorted((n, name) for name, n in self.kinds.items() if name not in op_names())
        return {
            **self.tally,
            "findings": self.tally["findings"],
            "largest error, as a share of its bound": round(self.worst, 3),
            "ops drawn": f"{len(ops)} of {len(op_names())}, each in {ops[0][0]} specs or more ({ops[0][1]})",
            "structures drawn": ", ".join(f"{name} {n}" for n, name in reversed(parts)),
            "CPU seconds": round(time.process_time() - self.began),
        }

    def line(self) -> str:
        spent = time.process_time() - self.began
        return (
            ", ".join(f"{k} {v}" for k, v in sorted(self.tally.items())) + f", largest error {self.worst:.2f} of the bound, {spent:.0f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0, help="the number of the first spec")
    parser.add_argument("--tensorrt", type=int, default=0, help="try TensorRT on one spec of so many")
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
        many(asked.seed, asked.count, asked.tensorrt, asked.record)


def many(first: int, count: int, tensorrt: int, keep: bool) -> None:
    run = Run(tensorrt)
    with tempfile.TemporaryDirectory() as folder:
        for start in range(first, first + count, BATCH):
            run.batch(range(start, min(start + BATCH, first + count)), Path(folder))
    print(f"\nnever drawn: {sorted(op_names() - run.kinds.keys()) or 'nothing'}")
    print(", ".join(f"{kind} {n}" for kind, n in sorted(run.kinds.items(), key=lambda pair: -pair[1])))
    if keep:
        record(
            "agree",
            "Random specs",
            f"python tests/trust/agree.py --seed {first} --count {count} --tensorrt {tensorrt}",
            run.figures(),
            NOTE,
        )


def shrink(number: int) -> None:
    """Print a simpler spec that fails with the same kind of message."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"

        def failure(drawn: Drawn) -> str:
            path.write_text(drawn.text, encoding="utf-8")
            try:
                check(path, drawn.variant)
            except SpecError:
                return ""
            except Exception as error:
                return re.sub(r"\w*\d\S*", "", str(error))[:60]
            return ""

        first = numbered(number)
        wanted = failure(first)
        small = simpler(first, lambda drawn: failure(drawn) == wanted)
        print(f"# variant: {small.variant}; {wanted}\n{small.text}")


if __name__ == "__main__":
    main()
