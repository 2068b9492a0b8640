"""A decomposed graph as a `torch.fx` program: one call for each node, to its lowering.

The program's placeholders are `training`, the graph's inputs, then the parameters and constants it uses, so it holds no state
and no name from the user's file reaches generated code.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from lamina.compiler.graph import STANDARD, Constant, Derived, Graph, Node, Origin, Parameter, Value
from lamina.compiler.targets.torch import host, registry
from lamina.compiler.targets.torch.arrays import torch_dtype, widened
from lamina.compiler.targets.torch.loops import Looped, scanned
from lamina.compiler.targets.torch.registry import Kind, Lowering, Result
from lamina.schema.diagnostics import Diagnostic, Span, SpecError

HOST_LIMIT = 4096  # elements; a longer integer constant is data, not a shape
_LOOPS = {"Loop": frozenset[str](), "Scan": frozenset({"num_scan_inputs", "scan_input_axes", "scan_output_axes"})}  # and their attributes
_ENDLESS = (np.array(2**63 - 1), np.array(True))  # the bound and the condition of a Loop that names none
_DTYPE_ATTRIBUTES = ("to", "dtype", "output_datatype")


@dataclass(frozen=True, slots=True)
class Hosted:
    """A value as an integer or a tuple of integers: literal, or computed by a node of the program."""

    form: Any
    rank: int

    def ints(self) -> Any:
        return self.form if self.rank == 1 else (self.form,)


@dataclass(frozen=True, slots=True)
class Program:
    """The fx graph, the modules that it calls, and what to pass after `training` and the inputs: parameters and constants, in order.

    Of each the step that declares it, of a constant the first that reads it.
    """

    graph: fx.Graph
    leaves: Mapping[Parameter | Constant, Origin]
    modules: Mapping[str, nn.Module]

    def module(self) -> fx.GraphModule:
        """The program, to be called."""
        root = nn.Module()
        for name, module in self.modules.items():
            root.add_module(name, module)
        return fx.GraphModule(root, self.graph)


def build(graph: Graph, wide: bool = False) -> Program:
    """The program that computes the graph's outputs as a tuple; nodes that no output needs are left out.

    `wide` computes in float64 wherever the graph says a narrower float. Raises SpecError at the node's place in the spec
    where an operator has no lowering, or an attribute that its lowering does not know.
    """
    return _Emitter(graph, wide).program()


class _Emitter:
    """Emits one graph. `around` are values from outside it that it is given after its inputs."""

    def __init__(self, graph: Graph, wide: bool, around: Sequence[Value] = ()) -> None:
        self.source, self.wide = graph, wide
        self.graph = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.training = self.graph.placeholder("training")
        self.tensors: dict[Value, fx.Node] = {v: self.graph.placeholder(f"input_{i}") for i, v in enumerate((*graph.inputs, *around))}
        self.last = next(reversed(self.tensors.values()), self.training)
        self.hosted: dict[Value, Hosted] = {}
        self.constants: dict[Value, Constant] = {}
        self.leaves: dict[Parameter | Constant, Origin] = {}
        self.origin = Origin(Span("model", 1, 1), "")  # of the node that is emitted
        self._device: fx.Node | None = None

    def program(self) -> Program:
        for node in _needed(self.source):
            self.emit(node)
        self.graph.output(tuple(self.tensor(v) for v in self.source.outputs))
        return Program(self.graph, self.leaves, self.modules)

    def emit(self, node: Node) -> None:
        """Add the calls that compute one node's outputs; they bear its origin."""
        self.origin = node.origin
        if node.body is not None and node.op_type in _LOOPS:
            self._emit_loop(node, node.body)
        elif node.domain == "torch" and registry.find(f"torch.{node.op_type}") is None:
            self._emit_torch(node)
        elif node.op_type == "Constant":
            self.constants[node.outputs[0]] = _constant_of(node)
        elif not self._emit_host(node):
            self._emit_lowering(node, self._find(node))

    def call(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> fx.Node:
        return self._placed(self.graph.call_function(function, arguments, keywords))

    def _placed(self, made: fx.Node) -> fx.Node:
        made.meta["origin"] = self.origin
        return made

    # The forms in which a value can be had.

    def tensor(self, value: Value) -> fx.Node:
        """The value as a tensor of the program."""
        value = self.constants.get(value, value)
        if value not in self.tensors:
            if isinstance(value, Derived):
                self._emit_derived(value)
            elif isinstance(value, Parameter | Constant):
                self.tensors[value] = self._leaf(value)
        if value not in self.tensors:
            self.tensors[value] = self.call(torch.tensor, self.hosted[value].form, dtype=torch.int64, device=self.device())
        return self.tensors[value]

    def host(self, value: Value) -> Hosted | None:
        """The value as integers, if it is an int64 constant or shape arithmetic."""
        value = self.constants.get(value, value)
        if isinstance(value, Constant) and value.array.dtype == np.int64 and value.array.ndim <= 1 and value.array.size <= HOST_LIMIT:
            return Hosted(_literal(value.array), value.array.ndim)
        if isinstance(value, Derived) and value not in self.hosted and value not in self.tensors:
            self._emit_derived(value)
        return self.hosted.get(value)

    def device(self) -> fx.Node:
        """The device that new tensors are made on: that of the first input, else of the first weight."""
        if self._device is None:
            anchor = self.tensors[self.source.inputs[0]] if self.source.inputs else self._anchor()
            with self.graph.inserting_after(self.last):
                self._device = self.call(getattr, anchor, "device")
        return self._device

    def _anchor(self) -> fx.Node:
        return self.tensors[next(iter(self.leaves))] if self.leaves else self._leaf(Constant("device", None, np.zeros(())))

    def _leaf(self, value: Parameter | Constant) -> fx.Node:
        with self.graph.inserting_after(self.last):
            self.last = self.graph.placeholder(f"{'weight' if isinstance(value, Parameter) else 'constant'}_{len(self.leaves)}")
        self.leaves[value] = (isinstance(value, Parameter) and value.origin) or self.origin
        return self.last

    def _emit_derived(self, value: Derived) -> None:
        reader = self.origin
        self.emit(value.node)
        self.origin = reader
        result = value.node.outputs[0]
        if result in self.hosted:
            self.hosted[value] = self.hosted[result]
        else:
            self.tensors[value] = self.tensors[result]

    def _argument(self, value: Value | None, kind: Kind) -> Any:
        if value is None:
            return None
        if kind is Kind.TENSOR:
            return self.tensor(value)
        value = self.constants.get(value, value)
        constant = value.array if isinstance(value, Constant) else None
        hosted = self.host(value)
        if kind is Kind.INTS:
            if constant is not None:
                return tuple(constant.reshape(-1).tolist())
            return hosted.ints() if hosted else self.call(_read_ints, self.tensor(value))
        if kind is Kind.FLOATS:
            return tuple(constant.reshape(-1).tolist()) if constant is not None else self.call(_read_ints, self.tensor(value))
        if kind is Kind.SCALAR and constant is not None and constant.size == 1:
            return constant.item()
        if kind is Kind.INDEX and hosted and hosted.rank == 0:
            return hosted.form
        return self.tensor(value)

    # The four ways to compute a node.

    def _emit_host(self, node: Node) -> bool:
        rule = host.RULES.get(node.op_type) if node.domain == STANDARD else None
        if rule is None or not node.inputs or len(node.outputs) != 1:
            return False
        values = [self.host(v) if v is not None else None for v in node.inputs]
        known = [v for v in values if v is not None]
        if len(known) != len(values):
            return False
        rank = rule.rank([v.rank for v in known], node.attributes)
        if rank is None:
            return False
        forms = [v.form for v in known]
        computed = any(isinstance(f, fx.Node) or (isinstance(f, tuple) and any(isinstance(i, fx.Node) for i in f)) for f in forms)
        form = self.call(rule.function, *forms, **node.attributes) if computed else rule.function(*forms, **node.attributes)
        self.hosted[node.outputs[0]] = Hosted(form, rank)
        return True

    def _emit_lowering(self, node: Node, lowering: Lowering) -> None:
        arguments = [self._argument(v, lowering.kind(i)) for i, v in enumerate(node.inputs)]
        keywords = self._attributes(node) | {name: self._context(name, node) for name in sorted(lowering.context)}
        result = self.call(lowering.function, *arguments, **keywords)
        if lowering.result in (Result.INTS, Result.INT):
            self.hosted[node.outputs[0]] = Hosted(result, 1 if lowering.result is Result.INTS else 0)
        else:
            self._bind(node, result, lowering.result is Result.SEVERAL)

    def _emit_loop(self, node: Node, body: Graph) -> None:
        """A Scan or a Loop: a module that runs the body's program, which is handed what it takes from here."""
        unknown = sorted(node.attributes.keys() - _LOOPS[node.op_type])
        if unknown:
            raise _unsupported(node, f"the PyTorch lowering of {node.op_type} does not know the attribute {unknown[0]}")
        around = [v for v in body.free() if not isinstance(v, Parameter | Constant | Derived)]
        program = _Emitter(body, self.wide, around).program()
        inner, inputs, outputs = program.module(), list(node.inputs), len(node.outputs)
        if node.op_type == "Scan":
            module: nn.Module = scanned(inner, node.attributes, len(inputs), outputs)
        else:
            inputs[:2] = [v or Constant(f"{node.outputs[0].name}.default", None, d) for v, d in zip(inputs, _ENDLESS, strict=False)]
            module = Looped(inner, len(inputs) - 2, outputs - len(inputs) + 2)
        name = f"loop_{len(self.modules)}"
        self.modules[name] = module
        given = [self.tensor(v) for v in (*(v for v in inputs if v is not None), *around)]
        for leaf, self.origin in program.leaves.items():
            given.append(self.tensor(leaf))
        result = self._placed(self.graph.call_module(name, (self.training, *given)))
        for i, value in enumerate(node.outputs):
            self.tensors[value] = self.call(operator.getitem, result, i)

    def _emit_torch(self, node: Node) -> None:
        function = operator.attrgetter(node.op_type)(torch)
        result = self.call(function, *(None if v is None else self.tensor(v) for v in node.inputs), **self._attributes(node))
        self._bind(node, result, len(node.outputs) > 1)

    def _context(self, name: str, node: Node) -> Any:
        return self.device() if name == "device" else self.training if name == "training" else len(node.outputs)

    def _bind(self, node: Node, result: fx.Node, several: bool) -> None:
        for i, value in enumerate(node.outputs):
            self.tensors[value] = self.call(operator.getitem, result, i) if several else result

    def _find(self, node: Node) -> Lowering:
        lowering = registry.find(f"{node.domain}.{node.op_type}".lstrip("."))
        if lowering is None:
            name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            raise _unsupported(node, f"the PyTorch target has no lowering for the operator {name}")
        unknown = sorted(set(node.attributes) - lowering.attributes)
        if unknown:
            raise _unsupported(node, f"the PyTorch lowering of {node.op_type} does not know the attribute {unknown[0]}")
        if len(node.inputs) > len(lowering.kinds) and not lowering.variadic:
            raise _unsupported(node, f"the PyTorch lowering of {node.op_type} takes {len(lowering.kinds)} inputs, not {len(node.inputs)}")
        return lowering

    def _attributes(self, node: Node) -> dict[str, Any]:
        return {name: self._attribute(node, name, value) for name, value in node.attributes.items()}

    def _attribute(self, node: Node, name: str, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return self.tensor(Constant(f"{node.outputs[0].name}.{name}", None, value))
        if name in _DTYPE_ATTRIBUTES and self.wide:
            value = widened(value)
        return torch_dtype(value) if name == "dtype" and isinstance(value, str) else value


def _needed(graph: Graph) -> list[Node]:
    """The nodes that the outputs depend on, in order."""
    wanted = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            kept.append(node)
            wanted.update(node.reads())
    return kept[::-1]


def _constant_of(node: Node) -> Constant:
    (name, value), *_ = node.attributes.items()
    dtype = np.int64 if name.startswith("value_int") else np.float32
    array = value if isinstance(value, np.ndarray) else np.asarray(value, dtype)
    return Constant(node.outputs[0].name, None, array)


def _literal(array: np.ndarray[Any, Any]) -> Any:
    return tuple(array.tolist()) if array.ndim else array.item()


def _read_ints(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Values that only running the model tells: torch.compile breaks the graph here."""
    return tuple(tensor.reshape(-1).tolist())


def _unsupported(node: Node, message: str) -> SpecError:
    return SpecError([Diagnostic("torch", message, node.origin.span)])
