"""How far rounding may lead from the float64 program of a spec: Monte Carlo arithmetic.

The program runs again and again, each number that an operator reads or makes changed by a random relative 2^-23 (float32; 2^-10 for
float16), and rounded to its dtype. Once more it runs with sums that cancel wholly: what a sum leaves below one unit in the last place of
its terms is 0, as it may be for who adds in another order. No random number is ever 0, and a step such as floor may stand there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch

from lamina.compiler.compile import weight_source
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Constant, Graph, Node, Value
from lamina.compiler.passes.decompose import decompose
from lamina.compiler.passes.drop_identity import drop_identity
from lamina.compiler.targets.torch import registry
from lamina.compiler.targets.torch.arrays import from_numpy, to_numpy
from lamina.compiler.targets.torch.module import LaminaModule

Array = np.ndarray[Any, Any]
RUNS = 3
# What moves numbers, or chooses one of them, rounds nothing, but for a scatter that adds.
MOVING = (
    "Abs Neg Relu Max Min Where Gather GatherElements GatherND Concat Split Slice Reshape Transpose Expand Squeeze Unsqueeze Tile Flatten "
    "Identity Cast CastLike Pad DepthToSpace SpaceToDepth ScatterElements ScatterND Shape Size Range ConstantOfShape Trilu TopK ArgMax "
    "ArgMin MaxPool ReduceMax ReduceMin Floor Ceil Round Sign Clip Scan Loop If OneHot EyeLike Constant IsNaN IsInf Not And Or Xor Equal "
    "Greater Less GreaterOrEqual LessOrEqual ReverseSequence Dropout Compress NonZero"
)
EXACT = frozenset(MOVING.split())
# What adds, and what adds the magnitudes of the same terms; GELU adds 1 to -1, times half of what it is given.
ADDING = "Add Sum MatMul Gemm Conv ConvTranspose Einsum ReduceSum ReduceMean AveragePool GlobalAveragePool CumSum"
SUMS = {**{op: op for op in ADDING.split()}, "Sub": "Add", "Gelu": "Identity"}

_SEEN: dict[str, torch.dtype] = {}
_NOISE: list[torch.Generator | None] = []  # none: note dtypes; without a generator: round alone


@registry.lowering("torch.rounded")
def rounded(x: torch.Tensor, *, key: str) -> torch.Tensor:
    """x as a dtype might round it, or, while dtypes are being noted, x."""
    if not x.is_floating_point():
        return x
    if not _NOISE:
        _SEEN[key] = x.dtype
        return x
    dtype = _SEEN.get(key, torch.float64)
    if _NOISE[0] is not None:
        x = x * (1 + torch.finfo(dtype).eps * (2 * torch.rand(x.shape, generator=_NOISE[0], dtype=x.dtype) - 1))
    return x.to(dtype).to(x.dtype)


@registry.lowering("torch.cancelled")
def cancelled(x: torch.Tensor, terms: torch.Tensor, *, key: str) -> torch.Tensor:
    """A sum as 0 where it is less than one unit in the last place of its terms."""
    if not x.is_floating_point():
        return x
    return torch.where(x.abs() < torch.finfo(_SEEN.get(key, torch.float64)).eps * terms, 0.0, x)


@final
class _Rounding:
    """Rewrites a graph."""

    def __init__(self, cancel: bool) -> None:
        self.cancel, self.count, self.nodes = cancel, 0, list[Node]()

    def graph(self, graph: Graph) -> Graph:
        outer, self.nodes = self.nodes, []
        sizes = _of_sizes(graph)
        for node in graph.nodes:
            if (node.op_type in EXACT and node.attributes.get("reduction", "none") in ("none", "max", "min")) or id(node) in sizes:
                self.nodes.append(node.with_bodies(self.graph))
            else:
                self._around(node)
        made, self.nodes = tuple(self.nodes), outer
        return replace(graph, nodes=made)

    def _around(self, node: Node) -> None:
        fixed = [v is None or _sizes(node, i) or _whole(v) for i, v in enumerate(node.inputs)]
        given = [_matrix(v) if self.cancel and node.op_type in SUMS and isinstance(v, Constant) else v for v in node.inputs]
        inputs = tuple(v if v is None or f else self._rounded(v, node.origin) for v, f in zip(given, fixed, strict=True))
        attributes = {k: float(np.float32(v)) if isinstance(v, float) else v for k, v in node.attributes.items()}
        raw = tuple(Value(f"raw.{v.name}", v.type) for v in node.outputs)
        node = replace(node, inputs=inputs, attributes=attributes)
        self.nodes.append(replace(node, outputs=raw))
        for before, after in zip(raw, node.outputs, strict=True):
            key = str(self.count)
            if self.cancel and node.op_type in SUMS:
                before = self._made("cancelled", (before, self._terms(node, fixed)), node.origin, key=key)
            self._rounded(before, node.origin, after)

    def _terms(self, node: Node, fixed: list[bool]) -> Value:
        """The sum of the magnitudes."""
        inputs = (v if v is None or f else self._made("Abs", (v,), node.origin, "") for v, f in zip(node.inputs, fixed, strict=True))
        name = SUMS[node.op_type]
        result = Value(f"terms.{self.count}.{len(self.nodes)}")
        self.nodes.append(Node(name, tuple(inputs), (result,), node.origin, {} if name == "Identity" else node.attributes))
        return result

    def _rounded(self, value: Value, origin: Any, result: Value | None = None) -> Value:
        self.count += 1
        return self._made("rounded", (value,), origin, result=result, key=str(self.count - 1))

    def _made(
        self, op: str, inputs: tuple[Value, ...], origin: Any, domain: str = "torch", result: Value | None = None, **attributes: str
    ) -> Value:
        made = result or Value(f"{op}.{self.count}.{len(self.nodes)}", inputs[0].type)
        self.nodes.append(Node(op, inputs, (made,), origin, attributes, domain))
        return made


def _matrix(value: Constant) -> Constant:
    """A matrix without what is next to nothing beside its largest number: the cosine of a right angle is 6e-17 in float64."""
    if value.array.dtype.kind != "f":
        return value
    size = np.abs(value.array)
    return replace(value, array=np.where(size < np.finfo(value.array.dtype).eps * size.max(initial=0), 0, value.array))


def _whole(value: Value) -> bool:
    return isinstance(value, Constant) and value.array.dtype.kind in "iub"


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
        noisy = _Rounding(cancel=False).graph(graph)
        self.exact = LaminaModule(graph, weights, wide=True).eval()
        self.narrow = LaminaModule(noisy, weights).eval()
        self.noisy = LaminaModule(noisy, weights, wide=True).eval()
        self.cancelling = LaminaModule(_Rounding(cancel=True).graph(graph), weights, wide=True).eval()

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
        return exact, [*noisy, run(self.cancelling, wide)]


def run(module: LaminaModule, tensors: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    """What a module makes of these."""
    with torch.inference_mode():
        result = module(*(tensors[name] for name in module.input_names))
    listed = result if isinstance(result, dict) else {module.output_names[0]: result}
    return {name: to_numpy(value) for name, value in listed.items()}
