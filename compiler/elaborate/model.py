"""The whole model: config, inputs, body, outputs; then the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from lamina.compiler.elaborate import calls, steps
from lamina.compiler.elaborate.adapted import adapted_body
from lamina.compiler.elaborate.checkpoints import demands, weight_rules
from lamina.compiler.elaborate.config import read_config
from lamina.compiler.elaborate.context import Context
from lamina.compiler.elaborate.dims import fixed_dims
from lamina.compiler.elaborate.interface import chosen, declared_type, holds, input_value, output_value, renamed
from lamina.compiler.elaborate.modules import declare_modules
from lamina.compiler.elaborate.preprocess import preprocessing
from lamina.compiler.elaborate.state import Carried, enter_states, leave_states, present_values
from lamina.compiler.elaborate.uncalled import run_uncalled
from lamina.compiler.elaborate.uninterrupted import uninterrupted
from lamina.compiler.elaborate.unused import unused_names
from lamina.compiler.elaborate.values import UNKNOWN, Callee, Frame, Request
from lamina.compiler.graph import Graph, Value
from lamina.compiler.precision import check_precision
from lamina.compiler.weights.demands import Demands
from lamina.schema import spec as s
from lamina.schema.diagnostics import Collector
from lamina.schema.dims import Dim, Symbol
from lamina.schema.sections import ImagePreprocess
from lamina.schema.weights import WeightRules


@dataclass(frozen=True, slots=True)
class Elaborated:
    """The graph of ops, the same with the outputs that only training has, the config it was made with, the dims by name, how files become
    inputs, how a checkpoint's tensors become weights, and what its metadata must say."""

    graph: Graph
    trained: Graph
    config: Mapping[str, Any]
    dims: Mapping[str, Symbol]
    preprocess: Mapping[str, ImagePreprocess]
    weights: WeightRules | None
    demands: Demands


@final
class _Elaboration(Context):
    """Ties the parts together."""

    def call(self, callee: Callee, request: Request) -> Any:
        return calls.call(self, callee, request)

    def run(self, flow: s.Flow, frame: Frame) -> None:
        steps.run(self, flow, frame)


def elaborate(spec: s.ModelSpec, collector: Collector | None = None) -> Elaborated:
    """Elaborate a model. Raises SpecError with every diagnostic, those that the collector holds already among them."""
    context = _Elaboration(spec, collector or Collector())
    with uninterrupted():
        result = _model(context)
    context.collector.raise_if_any()
    assert result is not None
    return result


def _model(context: Context) -> Elaborated | None:
    """The whole graph, or None when something is wrong."""
    spec = context.spec
    context.globals |= dict.fromkeys(spec.unreadable, UNKNOWN)
    frame = Frame(spec.file, {}, globals=context.globals)
    fixed_dims(context)
    config = read_config(context, frame)
    preprocess = preprocessing(context, frame)
    weights, demanded = weight_rules(context, frame), demands(context, frame)
    inputs = _inputs(context, frame)
    carried = enter_states(context, spec.state, frame, declared_type)
    context.guard(lambda: _body(context, frame, carried), spec.body.span)
    declared = chosen(context, "outputs", [decl for decl in spec.outputs if not decl.train], frame)
    names, alone = [value.name for value in inputs], len(declared) == 1
    declared += [decl for decl in spec.outputs if decl.train and context.guard(lambda d=decl: holds(context, d, frame), decl.span)]  # type: ignore[misc]
    outputs = [context.guard(lambda d=d: output_value(context, d, frame, names, alone and not d.train), d.span) for d in declared]  # type: ignore[misc]
    run_uncalled(context)
    if not context.collector.diagnostics:
        context.collector.diagnostics += [*unused_names(spec), *context.adapt.unused()]
    if context.collector.diagnostics:
        return None
    named = [(decl.train, renamed(context, v, decl.name, decl.span)) for v, decl in zip(outputs, declared, strict=True) if v is not None]
    inputs = [*inputs, *(left.past for left in context.states)]
    kept = [*(value for train, value in named if not train), *present_values(context)]
    graph = _graph(context, inputs, kept)
    check_precision(graph, spec.precision, context.collector)
    trained = _graph(context, inputs, [*kept, *(value for train, value in named if train)])
    return Elaborated(graph, trained, config, _dims(context, inputs), preprocess, weights, demanded)


def _graph(context: Context, inputs: Sequence[Value], outputs: Sequence[Value]) -> Graph:
    """What the outputs depend on."""
    states = tuple(left.state for left in context.states)
    return Graph(context.spec.model, tuple(inputs), tuple(outputs), context.graph.live(outputs), states)


def _inputs(context: Context, frame: Frame) -> list[Value]:
    """The inputs that can be read; the others are unknown, and null those that this config has not. The only one is the current value."""
    declared = chosen(context, "inputs", context.spec.inputs, frame)
    found = [context.guard(lambda d=d: input_value(context, d, frame), d.span) for d in declared]  # type: ignore[misc]
    absent = UNKNOWN if context.collector.diagnostics else None
    frame.values.update({decl.name: absent for decl in context.spec.inputs})
    for decl, value in zip(declared, found, strict=True):
        frame.values[decl.name] = UNKNOWN if value is None else value
    if len(found) == 1:
        frame.values["x"] = frame.values[declared[0].name]
    elif context.spec.unreadable:
        frame.values["x"] = UNKNOWN
    return [v for v in found if v is not None]


def _body(context: Context, frame: Frame, carried: Sequence[Carried]) -> None:
    declare_modules(context, context.spec.modules, frame)
    adapted_body(context, frame, lambda: context.run(context.spec.body, frame))
    leave_states(context, carried, frame)


def _dims(context: Context, inputs: list[Value]) -> dict[str, Symbol]:
    """The dims that the inputs give, by name: not those of absent inputs, or of a size's default where a variant gives a number."""
    given = {symbol.name for value in inputs for size in value.shape if isinstance(size, Dim) for symbol in size.symbols}
    return {name: symbol for name, symbol in context.dims.items() if name in given}
