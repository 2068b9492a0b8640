"""What a model is made of: shapes, parameters, multiply-adds and memory, step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from lamina.compiler.cost import macs_of, repeated, steps
from lamina.compiler.elaborate import Elaborated
from lamina.compiler.graph import Graph, Node, Parameter
from lamina.compiler.numeric import numpy_dtype
from lamina.schema.diagnostics import Span
from lamina.schema.dims import Symbol, TensorType, value_of


@dataclass(frozen=True, slots=True)
class Row:
    """One op: its path, symbolic output type(s), parameters, multiply-adds and bytes of output at the chosen sizes.

    Of an operator, `form` says which op it belongs to, and by which fast path if it is not of the definition.
    """

    path: str
    op: str
    output: str
    parameters: int
    macs: int
    bytes: int
    span: Span
    form: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """All rows in order, and the totals. `sizes` are the dynamic sizes that numbers were taken at."""

    rows: tuple[Row, ...]
    parameters: int
    macs: int
    weight_bytes: int
    sizes: Mapping[str, int]


def summarize(model: Elaborated, at: Mapping[str, int] | None = None) -> Summary:
    """Sum up a model at some sizes; dims that are not named take their `opt`."""
    env = {name: symbol.opt for name, symbol in model.dims.items()} | dict(at or {})
    seen: set[str] = set()
    rows = tuple(_row(node, value_of(times, env), env, seen) for node, times in repeated(steps(model.graph)))
    weights = sum(size_of(p) * numpy_dtype(p.dtype).itemsize for p in model.graph.parameters())
    return Summary(rows, parameter_count(model.graph), sum(r.macs for r in rows), weights, env)


def grouped(rows: Sequence[Row], depth: int) -> tuple[Row, ...]:
    """Neighbouring rows whose paths share their first `depth` parts, as one: summed up, with the output of the last."""

    def key(row: Row) -> tuple[str, ...]:
        return tuple(row.path.split(".")[:depth])

    return tuple(_sum(".".join(path), list(group)) for path, group in groupby(rows, key))


def _sum(path: str, rows: list[Row]) -> Row:
    if len(rows) == 1:
        return rows[0]
    sums = (sum(r.parameters for r in rows), sum(r.macs for r in rows), sum(r.bytes for r in rows))
    return Row(path, f"{len(rows)} ops", rows[-1].output, *sums, rows[0].span)


def parameter_count(graph: Graph) -> int:
    """Trainable parameters, each counted once however often it is shared."""
    return sum(size_of(p) for p in graph.parameters() if p.trainable)


def size_of(parameter: Parameter) -> int:
    """The number of elements of a weight."""
    return math.prod(s for s in parameter.shape if isinstance(s, int))


def human(number: int) -> str:
    """11915176 as 11.9M."""
    for unit, scale in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= scale:
            return f"{number / scale:.1f}{unit}"
    return str(number)


def _row(node: Node, times: int, env: Mapping[str, int], seen: set[str]) -> Row:
    fresh = {v.name: v for v in node.inputs if isinstance(v, Parameter) and v.trainable and v.name not in seen}
    seen.update(fresh)
    types = [v.type for v in node.outputs if v.type is not None]
    return Row(
        node.origin.path,
        node.op_type.lower() if node.op is None else node.op_type,
        ", ".join(map(str, types)),
        sum(size_of(p) for p in fresh.values()),
        times * value_of(macs_of(node), env),
        sum(_bytes(t, env) for t in types),
        node.origin.span,
    )


def _bytes(type_: TensorType, env: Mapping[str, int]) -> int:
    return math.prod(value_of(s, env) for s in type_.shape) * numpy_dtype(type_.dtype).itemsize


def within(dims: Mapping[str, Symbol], at: Mapping[str, int]) -> list[str]:
    """What is wrong with chosen sizes: unknown names, values out of range or not a multiple."""
    problems = []
    for name, value in at.items():
        symbol = dims.get(name)
        if symbol is None:
            problems.append(f"there is no dim `{name}`; the dims are {', '.join(dims) or 'none'}")
        elif not symbol.min <= value <= symbol.max or value % symbol.multiple_of:
            problems.append(f"`{name}` is {value}, but it must be {symbol.min} to {symbol.max} and a multiple of {symbol.multiple_of}")
        elif symbol.at_most is not None and value > (most := symbol.at_most.evaluate({**{n: s.opt for n, s in dims.items()}, **at})):
            problems.append(f"`{name}` is {value}, but it must be at most {symbol.at_most}, which is {most} here")
    return problems
