"""Which step parts from its definition: each is held to what its definition makes of the very values that the target gave it.

Steps in loops are held to theirs in every pass.
Errors of the steps before do not count, however much they grow on the way, so what stands out is where an error comes in.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from lamina.compiler.elaborate import Elaborated
from lamina.compiler.graph import Constant, Graph, Node, Parameter
from lamina.compiler.passes.decompose import decompose
from lamina.compiler.passes.drop_identity import drop_identity
from lamina.compiler.reference import Reference
from lamina.compiler.targets.onnxruntime import session_of
from lamina.compiler.weights.derived import is_evaluable
from lamina.runtime.manifest import Manifest, OnnxTarget
from lamina.runtime.parts import TorchTarget
from lamina.runtime.rooms import Rooms
from lamina.schema.diagnostics import Diagnostic, Span, SpecError
from lamina.severed import open_loops, opened, severed

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Divergence:
    """A step whose value is not what its definition makes of the same values: its path, place and relative error.

    Where the target has no value between some steps, as it fused them, `among` has the places of those before the last one.
    """

    path: str
    op: str
    span: Span
    error: float
    among: tuple[Span, ...] = ()


def relative_error(got: Array, wanted: Array) -> float:
    """Largest absolute difference over the reference's largest magnitude; infinite when shapes or NaNs differ."""
    if got.shape != wanted.shape:
        return float("inf")
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0 if np.allclose(a, b, equal_nan=True) else float("inf")
    if a.size == 0:
        return 0.0
    return float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-30))


def values_of(
    target: str, folder: Path, manifest: Manifest, inputs: Mapping[str, Array], judge: Reference, model: Elaborated
) -> dict[str, Array]:
    """What a target makes of its steps, by the names of values; nothing for one that keeps no values."""
    built = manifest.targets.built()[target]
    if isinstance(built, OnnxTarget):
        made = _of_onnx(folder / built.file, Rooms(manifest, built.preallocated).with_room(inputs), model)
        return {**_of_weights(target, judge, model), **made}
    return _of_torch(inputs, judge, model) if isinstance(built, TorchTarget) else {}


def blamed(
    got: Mapping[str, Array], inputs: Mapping[str, Array], judge: Reference, model: Elaborated, tolerance: float
) -> list[Divergence]:
    """Every step whose value the target has: in their order those that are beyond the tolerance, then the others, the farthest first."""
    graph, cuts = severed(judge.graph, got)
    made = type(judge)(graph, judge.weights).outputs({**inputs, **{cut.given.name: got[cut.name] for cut in cuts}})
    wanted = {cut.name: made[cut.made.name] for cut in cuts}
    makers = _makers(model.graph)
    found = [_judged(node, got, wanted, makers) for node, _ in _placed(model.graph) if any(v.name in wanted for v in node.outputs)]
    beyond = [d for d in found if d.error > tolerance]
    return beyond + sorted((d for d in found if d.error <= tolerance), key=lambda d: -d.error)


def computed(inputs: Mapping[str, Array], judge: Reference, model: Elaborated) -> dict[str, Array]:
    """What the definition makes of these inputs. Raises SpecError at the step that has no value for them."""
    try:
        return judge.outputs(inputs)
    except (IndexError, RuntimeError, ValueError) as error:
        nodes = model.graph.nodes
        first = bisect_left(range(len(nodes)), True, key=lambda n: _fails(judge, inputs, nodes[: n + 1]))
        node = _named(nodes[first], _makers(model.graph))
        message = f"`{node.op_type}` has no value for inputs drawn at random: {str(error).splitlines()[0]}"
        hint = "clamp what an input may not be; floats are drawn from a normal distribution, integers below the length of what they index"
        raise SpecError([Diagnostic("verify", message, node.origin.span, hint)]) from error


def _fails(judge: Reference, inputs: Mapping[str, Array], nodes: Sequence[Node]) -> bool:
    try:
        judge.values(inputs, [v.name for node in nodes for v in node.outputs])
    except (IndexError, RuntimeError, ValueError):
        return True
    return False


def not_finite(inputs: Mapping[str, Array], judge: Reference, model: Elaborated) -> Divergence | None:
    """The first step of the definition that makes NaN, or if none does, that is infinite; in a loop, in the first pass that has one."""
    nodes = list(_placed(model.graph))
    graph, values = opened(judge.graph, {v.name for node, _ in nodes for v in node.outputs})
    made = type(judge)(graph, judge.weights).values(inputs, [value.name for value in values.values()])
    for kind in (np.isnan, np.isinf):
        found = []
        for node, place in nodes:
            for array in (made[values[v.name].name] for v in node.outputs if v.name in values):
                if np.issubdtype(array.dtype, np.floating) and (bad := kind(array)).any():
                    passes = np.argwhere(bad)[0][: len(place) - 1].tolist()
                    end = [inf] if node.bodies else []  # a loop is done when all its passes are
                    moment = [part for pair in zip_longest(place, passes) for part in pair if part is not None]
                    found.append((moment + end, node, float(array[bad][0])))
        if found:
            _, node, value = min(found, key=lambda entry: entry[0])
            return Divergence(node.origin.path, node.op_type, node.origin.span, value)
    return None


def _placed(graph: Graph, at: tuple[int, ...] = ()) -> Iterator[tuple[Node, tuple[int, ...]]]:
    """The nodes, each after those of its bodies, and where they stand in their graph and those around it."""
    for place, node in enumerate(graph.nodes):
        for body in node.bodies:
            yield from _placed(body, (*at, place))
        yield node, (*at, place)


def _makers(graph: Graph) -> dict[int, Node]:
    return {id(v): node for node in graph.all_nodes() for v in node.outputs}


def _named(node: Node, makers: Mapping[int, Node]) -> Node:
    """The step, or the one whose value it only gives another name."""
    while node.op_type == "identity" and (before := makers.get(id(node.inputs[0]))) is not None:
        node = before
    return node


def _judged(node: Node, got: Mapping[str, Array], wanted: Mapping[str, Array], makers: Mapping[int, Node]) -> Divergence:
    error = max(relative_error(got[v.name], wanted[v.name]) for v in node.outputs if v.name in wanted)
    step = _named(node, makers)
    spans = [before.origin.span for before in _unseen(node, got, makers) if before is not step]
    return Divergence(step.origin.path, step.op_type, step.origin.span, error, tuple(dict.fromkeys(spans)))


def _unseen(node: Node, got: Collection[str], makers: Mapping[int, Node]) -> Iterator[Node]:
    """The steps before this one whose values the target has not."""
    pending, seen = [node], {id(node)}
    while pending:
        for value in pending.pop().reads():
            maker = makers.get(id(value))
            if maker is not None and value.name not in got and id(maker) not in seen:
                seen.add(id(maker))
                pending.append(maker)
                yield maker


def _of_onnx(file: Path, inputs: Mapping[str, Array], model: Elaborated) -> dict[str, Array]:
    """What the file makes, with graph optimisation off."""
    import onnx

    proto = onnx.load(file, load_external_data=False)
    places = open_loops(proto.graph, {v.name for node in model.graph.all_nodes() for v in node.outputs})
    session = session_of(proto, file.parent, list(places.values()))
    wanted = {i.name for i in session.get_inputs()}
    made = session.run(list(places.values()), {k: v for k, v in inputs.items() if k in wanted})
    return dict(zip(places, made, strict=True))


def _of_weights(target: str, judge: Reference, model: Elaborated) -> dict[str, Array]:
    """What steps make of weights alone, which files hold folded, as the target's forms of these steps have it."""
    known = {v.name for node in judge.graph.nodes for v in node.outputs} & {v.name for node in model.graph.nodes for v in node.outputs}
    graph, fixed = drop_identity(decompose(model.graph, target)), set[int]()
    for node in graph.nodes:
        if is_evaluable(node) and all(isinstance(v, Parameter | Constant) or id(v) in fixed for v in node.inputs if v is not None):
            fixed |= {id(v) for v in node.outputs}
    nodes = tuple(node for node in graph.nodes if id(node.outputs[0]) in fixed)
    names = [v.name for node in nodes for v in node.outputs if v.name in known]
    return type(judge)(replace(graph, inputs=(), outputs=(), nodes=nodes), judge.weights).values({}, names) if names else {}


def _of_torch(inputs: Mapping[str, Array], judge: Reference, model: Elaborated) -> dict[str, Array]:
    """What the module makes that the archive was exported from."""
    from lamina.compiler.lower import lower
    from lamina.compiler.targets.torch import run_values

    graph, places = opened(lower(model.graph, "torch"), {v.name for node in model.graph.all_nodes() for v in node.outputs})
    made = run_values(graph, judge.weights, inputs, [place.name for place in places.values()], wide=False)
    return {name: made[place.name] for name, place in places.items()}
