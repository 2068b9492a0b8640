"""The bench every op is tested on: an example becomes a one-op ONNX model, and its outputs meet an independent reference.

Expected values are PyTorch's, in float64, from `tests/op_references/*.py`: each holds `REFERENCES`, a table from an op's name to a callable
`reference(*inputs, **weights, **arguments)` on torch tensors. Arguments that are sizes may be texts in an example (`h // 2`).
"""

from __future__ import annotations

import ast
import importlib
import itertools
import json
import operator
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from lamina.compiler.builder import Builder
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Constant, Graph, Node, Origin, Parameter, Value
from lamina.compiler.numeric import numpy_dtype
from lamina.compiler.op import Example, Op, block_arguments, signature
from lamina.compiler.passes.decompose import decompose
from lamina.compiler.targets.onnx import to_onnx
from lamina.runtime.native import library
from lamina.schema.diagnostics import Span
from lamina.schema.dims import FLOATS, Dim, Size, Symbol, TensorType, value_of
from lamina.schema.read import read_spec

Array = np.ndarray[Any, Any]
OPS = Path(__file__).parent.parent / "compiler" / "ops"
SYMBOLS = {
    "b": Symbol("b", min=1, opt=2, max=16),
    "h": Symbol("h", min=8, opt=16, max=64, multiple_of=8),
    "w": Symbol("w", min=8, opt=16, max=64, multiple_of=8),
    "t": Symbol("t", min=4, opt=8, max=64),
}
POINTS = ({"b": 1, "h": 8, "w": 16, "t": 4}, {"b": 2, "h": 16, "w": 8, "t": 5}, {"b": 3, "h": 24, "w": 32, "t": 9})
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod}
# Float attributes of ONNX nodes are float32, so a float64 run is exact to about 6e-8 of them.
TOLERANCE = {"float64": 2e-7, "float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}


def op_names() -> list[str]:
    """Every op that has a file."""
    return sorted(p.stem for p in OPS.glob("*.py") if p.stem != "__init__")


@cache
def op_class(name: str) -> type[Op]:
    """The one op that a file defines."""
    module = importlib.import_module(f"lamina.compiler.ops.{name}")
    (found,) = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Op) and c.__module__ == module.__name__]
    return found


@cache
def references() -> dict[str, Callable[..., Any]]:
    """All reference tables as one; a name that stands in two of them is a mistake."""
    merged: dict[str, Callable[..., Any]] = {}
    for path in sorted((Path(__file__).parent / "op_references").glob("*.py")):
        table = importlib.import_module(f"op_references.{path.stem}").REFERENCES
        assert not merged.keys() & table.keys(), f"{path.name} repeats {merged.keys() & table.keys()}"
        merged |= table
    return merged


def size(text: str) -> Size:
    """A size from its text: integers, b, h, w, t and + - * // %."""

    def read(node: ast.AST) -> Any:
        match node:
            case ast.BinOp(left, op, right):
                return OPERATORS[type(op)](read(left), read(right))
            case ast.UnaryOp(ast.USub(), operand):
                return -read(operand)
            case ast.Name(name):
                return Dim.of(SYMBOLS[name])
            case ast.Constant(int(value)):
                return value
        raise ValueError(f"not a size: {text}")

    result: Size = read(ast.parse(text.strip(), mode="eval").body)
    return result


def tensor_type(text: str) -> TensorType:
    """`float32[b, 8]` as a type."""
    dtype, _, rest = text.partition("[")
    return TensorType(dtype, tuple(size(part) for part in rest.rstrip("]").split(",") if part.strip()))


def bind(cls: type[Op], arguments: Mapping[str, Any]) -> Op:
    """The op with these arguments; a text where a size is due is read as a size."""

    def sizes(value: Any) -> Any:
        if isinstance(value, list):
            return [sizes(v) for v in value]
        return size(value) if isinstance(value, str) else value

    def due(name: str) -> bool:
        field = cls.model_fields.get(name)
        return field is not None and "_SizeSchema" in f"{field.annotation!r} {field.metadata!r}"

    return cls(**{k: sizes(v) if due(k) else v for k, v in arguments.items()})


def blocks(cls: type[Op], arguments: Mapping[str, Any], types: Sequence[TensorType | None]) -> dict[str, Any]:
    """The arguments that are blocks, as steps, made graphs: a spec that calls the op on inputs of these types."""
    names = block_arguments(cls)
    if not names:
        return {}
    cls.hands(*types)
    inputs = {name: str(t) for name, t in zip(signature(cls).inputs, types, strict=True) if t}
    first, *others = inputs
    used = {name: s for name, s in SYMBOLS.items() if any(re.search(rf"\b{name}\b", text) for text in inputs.values())}
    spec = {
        "lamina": 1,
        "model": "example",
        "inputs": inputs,
        "dims": {name: {"min": s.min, "opt": s.opt, "max": s.max, "multiple_of": s.multiple_of} for name, s in used.items()},
        "body": [first, {cls.name: {**arguments, **{name: name for name in others}}}, "max(x)"],
        "outputs": {"y": f"{inputs[first].partition('[')[0]}[]"},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "example.yaml"
        path.write_text(json.dumps(spec))
        graph = elaborate(read_spec(path)).graph
    made = next(node.op for node in graph.nodes if node.op_type == cls.name)
    return {name: getattr(made, name) for name in names}


def at_point(value: Any, env: Mapping[str, int]) -> Any:
    """Arguments with every size a number."""
    if isinstance(value, list):
        return [at_point(v, env) for v in value]
    return value_of(value, env) if isinstance(value, Dim) else value


@dataclass(frozen=True)
class Case:
    """One op, bound, with the types of its inputs, weights and outputs."""

    op: Op
    example: Example
    inputs: tuple[TensorType | None, ...]
    weights: Mapping[str, Any]
    outputs: tuple[TensorType, ...]


def case(cls: type[Op], example: Example, *, double: bool = False) -> Case:
    """Bind an example; `double` turns its floating-point inputs (and so its weights) into float64."""
    types = tuple(tensor_type(text) if text else None for text in example.inputs)
    if double:
        types = tuple(t and TensorType("float64" if t.dtype in FLOATS else t.dtype, t.shape) for t in types)
    op = bind(cls, {**example.arguments, **blocks(cls, example.arguments, types)})
    out = op.infer(*types)
    return Case(op, example, types, op.parameters(*types), out if isinstance(out, tuple) else (out,))


@dataclass(frozen=True)
class Model:
    """A definition as nodes over named inputs. `dims` carries the dynamic sizes that no input shows."""

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


def lower(case: Case, method: str = "define") -> Model | None:
    """Run a definition (or fast path) on named inputs; None when the fast path declines."""
    counter = itertools.count()
    inputs = tuple(t and Value(f"x{i}", t) for i, t in enumerate(case.inputs))
    weights = {name: Parameter(f"weight.{name}", w.type, w.init, w.trainable) for name, w in case.weights.items()}
    carrier = Value("dims", TensorType("bool", tuple(map(Dim.of, SYMBOLS.values()))))
    values = (*(v for v in inputs if v), *weights.values())
    dims = {name: (carrier, i) for i, name in enumerate(SYMBOLS)}
    for value, (i, s) in ((v, pair) for v in reversed(values) for pair in enumerate(v.shape)):
        dims.update({name: (value, i) for name, symbol in SYMBOLS.items() if s == Dim.of(symbol)})
    origin = Origin(Span("example", 1, 1), case.op.name)
    g = Builder(origin, case.op.name, dims, lambda prefix: f"{prefix}_{next(counter)}", lambda inner, at: decompose(inner, "", at, counter))
    result = getattr(case.op, method)(g, *inputs, **weights)
    if result is NotImplemented:
        return None
    outputs = result if isinstance(result, tuple) else (result,)
    outputs = tuple(g("Identity", v) if isinstance(v, Constant) or v in values else v for v in outputs)
    used = any(v is carrier for node in g.nodes for v in node.inputs)
    return Model(tuple(g.nodes), (*values, carrier) if used else values, outputs)


def proto(model: Model, outputs: Sequence[TensorType], env: Mapping[str, int] | None = None) -> onnx.ModelProto:
    """The model as the ONNX target writes it, weights as inputs; with `env`, input sizes are numbers and output shapes are inferred."""
    plain = {v: Value(v.name, v.type) if isinstance(v, Parameter) else v for v in model.inputs}
    nodes = (replace(n, inputs=tuple(plain.get(v, v) if v is not None else None for v in n.inputs)) for n in model.nodes)
    typed = tuple(Value(v.name, t) for v, t in zip(model.outputs, outputs, strict=True))
    written = to_onnx(Graph("example", tuple(plain.values()), typed, tuple(nodes)), {}, {})
    if env is not None:
        for info, value in zip(written.graph.input, model.inputs, strict=True):
            for dim, wanted in zip(info.type.tensor_type.shape.dim, value.shape, strict=True):
                dim.dim_value = value_of(wanted, env)
        for info in written.graph.output:
            info.type.tensor_type.ClearField("shape")
    return written


def draw(type_: TensorType, env: Mapping[str, int], rng: np.random.Generator, values: str = "normal") -> Array:
    """A random array: floats as `values` says; integers below K for `index:K`, else small ones (never 0 for `positive`)."""
    shape = tuple(value_of(s, env) for s in type_.shape)
    if type_.dtype == "bool":
        return rng.random(shape) < 0.5
    if type_.dtype not in FLOATS:
        kind, _, bound = values.partition(":")
        low, high = (0, int(bound)) if kind == "index" else (1, 7) if kind == "positive" or type_.dtype == "uint8" else (-6, 7)
        return rng.integers(low, high, shape).astype(type_.dtype)
    drawn = {"positive": lambda: rng.uniform(0.5, 2, shape), "unit": lambda: rng.uniform(-1, 1, shape)}
    return drawn.get(values, lambda: rng.standard_normal(shape))().astype(numpy_dtype(type_.dtype))


def feeds(case: Case, model: Model, env: Mapping[str, int]) -> dict[str, Array]:
    """Arrays for every input and weight; weights that start at one are positive."""
    rng = np.random.default_rng(list(case.op.name.encode()))
    arrays = {}
    for value in model.inputs:
        weight = case.weights.get(value.name.removeprefix("weight."))
        values = case.example.values if weight is None else "positive" if weight.init == "ones" else "unit"
        arrays[value.name] = draw(value.type or case.outputs[0], env, rng, values)
    return arrays


def expected(case: Case, arrays: Mapping[str, Array], env: Mapping[str, int]) -> list[Array]:
    """What PyTorch says, in float64."""
    tensors = {k: _tensor(a) for k, a in arrays.items()}
    inputs = [tensors.get(f"x{i}") for i in range(len(case.inputs))]
    # The flag `bias` is left out: the weight of that name is there or it is not.
    arguments = {name: at_point(getattr(case.op, name), env) for name in signature(type(case.op)).arguments if name != "bias"}
    result = references()[case.op.name](*inputs, **{k or "weight": tensors[f"weight.{k}"] for k in case.weights}, **arguments)
    return [t.detach().numpy() for t in (result if isinstance(result, tuple | list) else (result,))]


def _tensor(array: Array) -> torch.Tensor:
    floating = array.dtype.kind in "fV"
    return torch.from_numpy(np.array(array, np.float64 if floating else array.dtype))


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    """An ONNX Runtime session on two threads, with its default optimisations and our own kernels."""
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(library()))
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def close(got: Sequence[Array], want: Iterable[Array], rtol: float, what: str) -> None:
    """Equal up to `rtol` of the largest expected magnitude; integers and booleans are exact."""
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape, f"{what}: shape {g.shape}, expected {w.shape}"
        if g.dtype.kind in "iub":
            np.testing.assert_array_equal(g, w, err_msg=what)
            continue
        wide = np.asarray(w, np.float64)
        finite = np.abs(wide[np.isfinite(wide)])
        limit = max(rtol, TOLERANCE.get(g.dtype.name, 0.0))
        np.testing.assert_allclose(g.astype(np.float64), wide, limit, limit * finite.max(initial=0.0), err_msg=what)
