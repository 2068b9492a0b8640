"""Shapes over whole ranges: what is inferred for every size holds at each, and what is refused breaks at the size that is shown.

    python tests/trust/shapes.py [--variants 1] [--specs 1000] [--record]

At the corners of each dim's range a spec is elaborated anew with the dim as a number: that must succeed, and every step's shape must be
the symbolic one evaluated there. At sizes that are small every step's definition is run, and has that shape. Then the ranges are widened
until the checker refuses: the size that it shows must break the very step that it names, and no smaller one may.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent / "zoo"))

import torch
from random_specs import numbered
from trust import record
from zoo import files, inputs, small_cases

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.elaborate.model import Elaborated
from lamina.compiler.elaborate.unused import unused
from lamina.compiler.graph import Graph
from lamina.compiler.passes.decompose import decompose
from lamina.compiler.targets.torch import run_values
from lamina.compiler.weights.seeded import Seeded
from lamina.schema.diagnostics import Diagnostic, SpecError
from lamina.schema.dims import Dim, Size, Symbol, bounds, value_of
from lamina.schema.sections import DimDecl
from lamina.schema.spec import ConfigEntry, ModelSpec
from lamina.schema.tree import Scalar
from lamina.schema.types import TypeDecl

Point = Mapping[str, int]
Steps = list[tuple[str, str, list[str]]]  # op, path, types
BELOW = 4  # sizes below the one that is shown, at which the step must fit
LARGEST = 1 << 16  # elements of the largest value, where definitions are run
SHOWN = re.compile(r"((?:\w+ = \d+(?:, )?)+) breaks? this step: ")


class Wrong(Exception):
    """A finding."""


def corners(symbol: Symbol) -> list[int]:
    """The ends of a range, what is beside them, and primes in it."""
    low, high = symbol.bounds()
    primes = [next(_primes(n), high) for n in (low + 3, (low + high) // 2)]
    units = {low, low + 1, low + 2, symbol.opt // symbol.multiple_of, *primes, high - 1, high}
    return sorted(u * symbol.multiple_of for u in units if low <= u <= high)


def _primes(first: int) -> Iterator[int]:
    return (n for n in range(max(first, 2), first + 1000) if all(n % d for d in range(2, math.isqrt(n) + 1)))


def points(dims: Mapping[str, Symbol]) -> Iterator[Point]:
    """Each dim at its corners while the others are at their smallest; all at their largest."""
    least = {n: corners(s)[0] for n, s in dims.items()}
    yield least
    for name, symbol in dims.items():
        yield from ({**least, name: value} for value in corners(symbol)[1:])
    if len(dims) > 1:
        most = {n: corners(s)[-1] for n, s in dims.items()}
        for name, symbol in dims.items():
            if symbol.at_most is not None:
                most[name] = min(most[name], value_of(symbol.at_most, most))
        yield most


def fixed(spec: ModelSpec, point: Point) -> ModelSpec:
    """The spec in which these dims are numbers."""
    entries = [
        ConfigEntry(name=name, type=TypeDecl("int", default=Scalar(str(value), value, spec.dims[name].span)), span=spec.dims[name].span)
        for name, value in point.items()
    ]
    dims = {name: decl for name, decl in spec.dims.items() if name not in point}
    there = spec.model_copy(update={"config": (*entries, *spec.config), "dims": dims})
    idle, _ = unused(there)  # what only ranges followed
    return there.model_copy(update={"config": tuple(entry for entry in there.config if entry.name not in idle)})


def growing(model: Elaborated) -> set[str]:
    """The dims that states grow along: a number cannot grow."""
    found = set()
    values = {v.name: v for v in (*model.graph.inputs, *model.graph.outputs)}
    for state in model.graph.states:
        past, present = values[state.past], values[state.present]
        found |= {s.name for a, b in zip(past.shape, present.shape, strict=True) if a != b and isinstance(a, Dim) for s in a.symbols}
    return found


def steps(graph: Graph, point: Point) -> Steps:
    """Every step's shapes at a point; sizes as operands are steps only where they are not known."""
    return [
        (node.op_type, node.origin.path, [f"{v.dtype}{[_at(s, point) for s in v.shape]}" for v in node.outputs])
        for node in graph.all_nodes()
        if node.op_type != "size"
    ]


def _at(size: Size, point: Point) -> int | str:
    """A size at a point; a question mark where it is also of how many rows choose an expert, say."""
    known = isinstance(size, int) or all(s.name in point for s in size.symbols)
    return value_of(size, point) if known else "?"


def fits(spec: ModelSpec, model: Elaborated, point: Point) -> None:
    """Hold what is inferred for all sizes against what is inferred for these. Raises Wrong."""
    grown = growing(model)
    beside = {s.name for n in grown if (most := model.dims[n].at_most) is not None for s in most.symbols}
    numbers = {name: value for name, value in point.items() if name not in grown | beside}
    try:
        there = elaborate(fixed(spec, numbers))
    except SpecError as error:
        raise Wrong(f"accepted, but at {numbers}: {error.diagnostics[0].message}") from error
    for ours, theirs in zip(steps(model.graph, point), steps(there.graph, point), strict=True):
        if ours != theirs:
            raise Wrong(f"at {point} the shapes are {theirs}, and what is inferred is {ours}")


def defined(model: Elaborated, point: Point) -> int:
    """How many values' definitions have the inferred shape. Raises Wrong."""
    graph = decompose(model.graph, "definition")
    typed = {v.name: v for node in graph.nodes for v in node.outputs if v.type is not None}
    try:
        found = run_values(graph, Seeded(0), inputs(model, dict(point)), list(typed))
    except Exception as error:
        raise Wrong(f"at {point} the definition fails: {type(error).__name__}: {str(error)[:300]}") from error
    for name, array in found.items():
        want = [_at(s, point) for s in typed[name].shape]
        if not all(w in (a, "?") for a, w in zip(array.shape, want, strict=True)):
            raise Wrong(f"at {point} the definition of {name} has the shape {array.shape}, and what is inferred is {want}")
    return len(found)


def small(model: Elaborated, point: Point) -> bool:
    """Whether every value has few elements there."""
    values = [v for node in model.graph.all_nodes() for v in node.outputs] + list(model.graph.inputs)
    return all(math.prod(value_of(s, point) for s in v.shape) <= LARGEST for v in values)


def accepted(spec: ModelSpec, tally: Counter[str], runs: int) -> None:
    """All points of a spec that the checker accepts, and the definitions at some. Raises Wrong."""
    model = elaborate(spec)
    tally["specs accepted"] += 1
    tally["ranges of dims"] += len(model.dims)
    for point in points(model.dims):
        fits(spec, model, point)
        tally["points at which every shape is the inferred one"] += 1
        if runs and small(model, point):
            tally["values whose definition was run and has the inferred shape"] += defined(model, point)
            tally["points at which the definition was run"] += 1
            runs -= 1


def widened(spec: ModelSpec, model: Elaborated) -> Iterator[tuple[str, ModelSpec]]:
    """The spec with each of its ranges wider than its author declared: of any size, and from 1."""
    for name in model.dims:
        decl = spec.dims[name]
        if decl.multiple_of == 1 and decl.min in (0, 1):
            continue
        low, high = bounds(Dim.of(model.dims[name]))
        for least in sorted({1, low}, reverse=True):
            wide = DimDecl(min=least, opt=least, max=max(64, high), multiple_of=1, span=decl.span)
            yield name, spec.model_copy(update={"dims": {**spec.dims, name: wide}})


def refused(spec: ModelSpec, model: Elaborated, tally: Counter[str]) -> None:
    """What the checker says of wider ranges. Raises Wrong."""
    for name, wide in widened(spec, model):
        tally["ranges widened"] += 1
        try:
            found = elaborate(wide)
        except SpecError as error:
            tally["of them refused"] += 1
            shown = [(d, dict(_values(match[1]))) for d in error.diagnostics for n in d.notes if (match := SHOWN.match(n.message))]
            for diagnostic, env in shown:
                _breaks(wide, diagnostic, env, model, tally)
            if not shown:
                tally[f"of them refused as no step, or for a size that must be known: {error.diagnostics[0].code}"] += 1
            continue
        for point in islice(points({name: found.dims[name]}), 8):
            fits(wide, found, {**{n: corners(s)[0] for n, s in found.dims.items()}, **point})
            tally["points of wider ranges that are accepted, at which every shape is the inferred one"] += 1


def _values(text: str) -> Iterator[tuple[str, int]]:
    return ((name, int(value)) for name, value in re.findall(r"(\w+) = (\d+)", text))


def _breaks(spec: ModelSpec, diagnostic: Diagnostic, env: Point, model: Elaborated, tally: Counter[str]) -> None:
    """The size that a diagnostic shows breaks the step at its place; a smaller one does not. Raises Wrong."""
    if growing(model) & env.keys():
        tally["counterexamples along a state that grows, not tried"] += 1
        return
    if not _broken(spec, diagnostic, env):
        raise Wrong(f"{diagnostic.span}: {diagnostic.message}: shown is {env}, which fits")
    tally["counterexamples that break the step"] += 1
    if len(env) > 1:
        return
    ((name, value),) = env.items()
    decl = spec.dims[name]
    step, least = (v if isinstance(v, int) else 1 for v in (decl.multiple_of, decl.min))
    for smaller in {*range(max(least, value - BELOW * step), value, step), *([least] if least < value else [])}:
        if _broken(spec, diagnostic, {name: smaller}):
            raise Wrong(f"{diagnostic.span}: {diagnostic.message}: shown is {env}, but {name} = {smaller} breaks it, too")
        tally["smaller sizes that do not break it"] += 1


def _broken(spec: ModelSpec, diagnostic: Diagnostic, env: Point) -> bool:
    try:
        elaborate(fixed(spec, env))
    except SpecError as error:
        return any(d.span == diagnostic.span for d in error.diagnostics)
    return False


def every(variants: int | None, count: int, keep: Path) -> Iterator[tuple[str, ModelSpec]]:
    """So many variants of each of the zoo's specs, small, and so many random specs."""
    for path in files():
        yield from ((str(case), case.spec()) for case in islice(small_cases(path), variants))
    for number in range(count):
        drawn = numbered(number)
        yield f"random {number}", lamina.load(drawn.write(keep / str(number)), drawn.variant)


def run(specs: Iterable[tuple[str, ModelSpec]], tally: Counter[str], runs: int = 3) -> list[str]:
    """What is wrong."""
    wrong = []
    for name, spec in specs:
        try:
            accepted(spec, tally, runs)
            refused(spec, elaborate(spec), tally)
        except Wrong as error:
            wrong.append(f"{name}: {error}")
            print(wrong[-1], flush=True)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--specs", type=int, default=1000, help="random specs, beside the zoo")
    parser.add_argument("--variants", type=int, help="variants of each spec of the zoo; all unless given")
    parser.add_argument("--record", action="store_true", help="keep the figures")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tally: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        wrong = run(every(asked.variants, asked.specs, Path(folder)), tally)
    figures = {**tally, "findings": len(wrong)}
    print("\n".join(f"{what}: {n}" for what, n in figures.items()))
    if asked.record:
        chosen = "" if asked.variants is None else f" --variants {asked.variants}"
        record("shapes", "Shapes over whole ranges", f"python tests/trust/shapes.py{chosen} --specs {asked.specs}", figures)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
