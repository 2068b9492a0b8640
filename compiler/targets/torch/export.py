"""A module as a `torch.export` archive (.pt2) with the graph's dynamic sizes."""

from __future__ import annotations

import keyword
import linecache
import traceback
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch.export import Dim as ExportDim
from torch.fx.experimental import _config as shape_config
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from lamina.compiler.graph import Graph, Origin, Parameter, Value
from lamina.compiler.targets.torch.arrays import torch_dtype
from lamina.compiler.targets.torch.module import Array, LaminaModule, Weights, to_module
from lamina.compiler.weights.shapes import Shapes
from lamina.schema.diagnostics import Diagnostic, SpecError
from lamina.schema.dims import Dim, Symbol, value_of

_TAKEN = frozenset((*dir(nn.Module()), *keyword.kwlist))  # a program's code, which loading it runs, has weights as `self.for.1.weight`
_FIRST = (2, 5, 11)  # units of a dim to trace with, at least


def for_archive(graph: Graph, weights: Weights) -> tuple[Graph, Weights]:
    """With names that an archive can hold for the weights.

    A part that `nn.Module` has a use for (`forward`), or Python (`for`: PyTorch writes names into source), ends in `_`.
    """
    own = {leaf.name: leaf for leaf in graph.parameters()}
    renamed = {name: replace(leaf, name=_free(name)) for name, leaf in own.items()}
    held = _Renamed(weights, {leaf.name: own[name] for name, leaf in renamed.items()})
    return graph.mapped(lambda v: renamed[v.name] if isinstance(v, Parameter) else v), held


def _free(name: str) -> str:
    return ".".join(f"{part}_" if part in _TAKEN or keyword.iskeyword(part) else part for part in name.split("."))


@final
@dataclass(frozen=True, slots=True)
class _Renamed:
    """Weights under other names."""

    weights: Weights
    leaves: Mapping[str, Parameter]

    def get(self, parameter: Parameter) -> Array:
        return self.weights.get(self.leaves[parameter.name])


def check_support(graph: Graph) -> tuple[Diagnostic, ...]:
    """What PyTorch refuses of a graph; nothing if it exports the whole.

    It is traced as for an archive. Its weights have no numbers: the operating system gives memory to what is written alone.
    """
    named, _ = for_archive(graph, Shapes())
    try:
        export(to_module(named).to_empty(device="cpu"), named)
    except SpecError as error:
        return error.diagnostics
    return ()


def save_pt2(module: LaminaModule, graph: Graph, path: Path) -> str:
    """Export the module for inference, each named dim over its declared range, and write the archive.

    Returns the version of PyTorch that wrote it.
    The program takes the inputs by position, in the graph's order. The module must hold its weights, and is left as it was.
    The same module, file name and version of PyTorch give the same bytes.
    """
    program = export(module, graph)
    _strip(program)
    torch.export.save(program, path)
    return str(torch.__version__).partition("+")[0]


def _strip(program: torch.export.ExportedProgram) -> None:
    """Leave out what differs from run to run, and ranges of expressions, which follow from those of symbols."""
    for part in program.graph_module.modules():  # the bodies of loops are parts
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    ranges = sorted(((key, bounds) for key, bounds in program.range_constraints.items() if key.is_Symbol), key=lambda item: str(item[0]))
    program.range_constraints.clear()
    program.range_constraints.update(ranges)


def export(module: LaminaModule, graph: Graph) -> torch.export.ExportedProgram:
    """The exported program of the module in eval mode.

    A size that equals another by chance while it is traced is taken for a constant, so other sizes are tried then. Raises SpecError with
    what PyTorch says where none will do, at the first step with which it refuses.

    Shapes are right for the whole range of each dim: the compiler has proved that. What PyTorch assumes besides, while it traces, is about
    the layout of tensors in memory, which its operators look at again when they run: it is left out.
    """
    found = _tried(module, graph)
    if isinstance(found, torch.export.ExportedProgram):
        return found
    origin = _traced_at(found, module) or _first_refused(graph)
    path = f" (in `{origin.path}`)" if origin.path else ""
    said = str(found).strip() or type(found).__name__
    message = f"torch.export does not take the model: {said.splitlines()[0]}{path}"
    raise SpecError([Diagnostic("torch", message, origin.span, "fix the sizes that it names, or leave out the target `torch`")])


def _first_refused(graph: Graph) -> Origin:
    """The first node with which PyTorch takes the graph no more: what it says names none."""
    nodes = graph.nodes

    def refused(last: int) -> bool:
        part = replace(graph, nodes=nodes[: last + 1], outputs=tuple(v for node in nodes[: last + 1] for v in node.outputs))
        module = LaminaModule(part)
        module.load_state_dict({name: torch.empty_like(held, device="cpu") for name, held in module.state_dict().items()}, assign=True)
        return isinstance(_tried(module, part), Exception)

    return nodes[bisect_left(range(len(nodes) - 1), True, key=refused)].origin


def _tried(module: LaminaModule, graph: Graph) -> torch.export.ExportedProgram | Exception:
    """The program, or the first refusal.

    PyTorch is told to think of no size as 0 or 1, which it would make rules of; then not, since some loops it traces only so: what it
    assumes of sizes stays in the program then.
    """
    symbols = _symbols(graph)
    shapes = tuple(_dynamic(value, {symbol: _dim(symbol) for symbol in symbols}) for value in graph.inputs)
    fixed = {size for value in graph.inputs for size in value.shape if isinstance(size, int)}
    points = {tuple(env.items()): env for env in (_samples(symbols, fixed, first) for first in _FIRST)}
    refusal: Exception | None = None
    training = module.training
    try:
        for oblivious, env in product((True, False), points.values()):
            if any(node.body is not None for node in graph.nodes):
                torch._dynamo.reset()  # PyTorch traces loops by what it remembers of the sizes of others
            try:
                return _traced(module.eval(), tuple(_example(value, env) for value in graph.inputs), shapes, oblivious)
            except Exception as error:  # of any kind, as PyTorch's assertions are
                refusal = refusal or error
    finally:
        module.train(training)
    assert refusal is not None
    return refusal


def _traced_at(refusal: Exception, module: LaminaModule) -> Origin | None:
    """The step that was being traced, where that is what PyTorch refused."""
    for frame, number in traceback.walk_tb(refusal.__traceback__):
        line = linecache.getline(frame.f_code.co_filename, number)
        if frame.f_code.co_filename.startswith("<eval_with_key>") and (found := module.origin(line)) is not None:
            return found
    return None


def _traced(module: LaminaModule, arguments: tuple[Tensor, ...], shapes: tuple[Any, ...], oblivious: bool) -> torch.export.ExportedProgram:
    with torch.no_grad(), shape_config.patch(backed_size_oblivious=oblivious):  # type: ignore[attr-defined]
        program = torch.export.export(
            module, arguments, dynamic_shapes={"positional": shapes}, prefer_deferred_runtime_asserts_over_guards=True
        )
    for part in program.graph_module.modules() if oblivious else ():  # loops are modules of their own
        if isinstance(part, torch.fx.GraphModule):
            _drop_assumptions(part.graph)
    return program


def _drop_assumptions(graph: torch.fx.Graph) -> None:
    """Leave out the assertions about sizes, but for those that values decide."""
    for node in graph.nodes:
        if node.target is torch.ops.aten._assert_scalar.default:
            condition = node.args[0]
            if not free_unbacked_symbols(condition.meta["val"] if isinstance(condition, torch.fx.Node) else condition):
                graph.erase_node(node)
    graph.eliminate_dead_code()


def _symbols(graph: Graph) -> list[Symbol]:
    found = {symbol for value in graph.inputs for size in value.shape if isinstance(size, Dim) for symbol in size.symbols}
    return sorted(found, key=lambda symbol: symbol.name)


def _units(symbol: Symbol) -> tuple[int, int]:
    return -(-symbol.min // symbol.multiple_of), symbol.max // symbol.multiple_of


def _dim(symbol: Symbol) -> Any:
    """The dim's unit, to be multiplied by `multiple_of`; None where the range leaves one value."""
    low, high = _units(symbol)
    return ExportDim(symbol.name if symbol.multiple_of == 1 else f"{symbol.name}_unit", min=low, max=high) if low < high else None


def _samples(symbols: list[Symbol], fixed: set[int], first: int) -> dict[str, int]:
    """A value for each dim to trace with, unlike the others and the fixed sizes: an equality by chance would be taken for a rule."""
    env: dict[str, int] = {}
    for symbol in symbols:
        low, high = _units(symbol)
        taken = fixed | set(env.values())
        free = (u for u in range(max(low, first), high) if u * symbol.multiple_of not in taken)
        env[symbol.name] = next(free, high) * symbol.multiple_of
    return env


def _example(value: Value, env: dict[str, int]) -> Tensor:
    return torch.zeros([value_of(size, env) for size in value.shape], dtype=torch_dtype(value.dtype))


def _dynamic(value: Value, dims: dict[Symbol, Any]) -> dict[int, Any]:
    return {axis: _form(size, dims) for axis, size in enumerate(value.shape) if isinstance(size, Dim)}


def _form(size: Dim, dims: dict[Symbol, Any]) -> Any:
    """A multiple of one dim, plus a number, in torch.export's terms; anything else is left to it to find."""
    total = 0
    unit = None
    for monomial, coefficient in size.terms:
        if not monomial:
            total += coefficient
        elif unit is None and len(monomial) == 1 and isinstance(monomial[0], Symbol):
            unit = (dims[monomial[0]], coefficient)
        else:
            return ExportDim.AUTO
    assert unit is not None
    dim, coefficient = unit
    if dim is None:
        return None
    dim = coefficient * dim if coefficient != 1 else dim
    return dim + total if total else dim
