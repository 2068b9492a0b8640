"""Every op on each of its examples: TensorRT takes the operators that it becomes, and builds an engine of them for dynamic sizes.

Hundreds of examples are one ONNX file, each under its own prefix, since starting the library costs more than an example does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import op_harness as bench
import pytest
import torch
from onnx import TensorProto, helper

from lamina.compiler.graph import Graph, Origin
from lamina.compiler.op import Example, OpError, block_arguments, paths_for
from lamina.compiler.targets.tensorrt import build, check_support, find
from lamina.schema.diagnostics import Span, SpecError
from lamina.schema.dims import FLOATS

DTYPES = ("float32", "float16", "bfloat16", "int64", "int32", "bool")  # uint8 is for inputs and outputs, others not for TensorRT


@dataclass(frozen=True)
class Lowered:
    """One example as the target gets it."""

    name: str
    number: int
    case: bench.Case
    path: str
    model: bench.Model

    @property
    def prefix(self) -> str:
        return f"{self.name}-{self.number}/"


def lowered(dtype: str) -> list[Lowered]:
    """All examples as written for float32; for other dtypes those that it replaces float32 in, or the dtype of the first input."""
    examples = [(name, i, e) for name in bench.op_names() for i, e in enumerate(bench.op_class(name).examples)]
    return [found for e in examples if (found := _lowered(*e, dtype)) is not None]


def _lowered(name: str, number: int, example: Example, dtype: str) -> Lowered | None:
    old = "float32" if dtype in FLOATS or not example.inputs else example.inputs[0].partition("[")[0]
    inputs = [dtype + text.removeprefix(old) if text.startswith(f"{old}[") else text for text in example.inputs]
    if inputs == list(example.inputs) and dtype != "float32":
        return None
    try:
        case = bench.case(bench.op_class(name), replace(example, inputs=inputs))
    except OpError:
        return None
    paths = paths_for(type(case.op), "tensorrt")
    return next(Lowered(name, number, case, path, m) for path in paths if (m := bench.lower(case, path)) is not None)


def joined(examples: list[Lowered], path: Path) -> Path:
    """One file that holds them all side by side."""
    protos = [bench.proto(e.model, e.case.outputs) for e in examples]
    whole = onnx.ModelProto(ir_version=protos[0].ir_version, opset_import=protos[0].opset_import, graph={"name": "examples"})
    for proto, example in zip(protos, examples, strict=True):
        # onnx would rename the initializers after the bodies that read them
        fixed = {i.name: f"{example.prefix}{i.name}" for i in proto.graph.initializer}
        whole.graph.MergeFrom(onnx.compose.add_prefix_graph(proto.graph, example.prefix, name_map=fixed))
    path.write_bytes(whole.SerializeToString())
    return path


def new(examples: list[Lowered]) -> Iterator[Lowered]:
    """Those with an operator that none before them has: of the same kind, on inputs of that rank, with these attributes."""
    seen: set[str] = set()
    for example in examples:
        nodes = Graph("", (), (), example.model.nodes).all_nodes()
        operators = {repr((n.op_type, sorted(n.attributes.items()), [v and v.type and v.rank for v in n.inputs])) for n in nodes}
        if not operators <= seen:
            yield example
        seen |= operators


def refusals(examples: list[Lowered], path: Path) -> dict[tuple[str, int], str]:
    """What the library says of examples that it does not take, by op and number."""
    nodes = [(e, f"{e.prefix}{node.outputs[0].name}") for e in examples for node in Graph("", (), (), e.model.nodes).all_nodes()]
    origins = {name: Origin(Span(e.name, e.number + 1, 1), "") for e, name in nodes}
    found = check_support(joined(examples, path), origins=origins, sources={"inputs": ""})
    return {(d.span.file, d.span.line - 1): d.message for d in found}


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_example_is_taken(dtype: str, tmp_path: Path) -> None:
    assert refusals(lowered(dtype), tmp_path / "examples.onnx") == {}


def builds(example: Lowered, folder: Path) -> bool:
    dims = {name: (s.min, s.opt, s.max) for name, s in bench.SYMBOLS.items()}
    inputs = [(f"{example.prefix}{v.name}", v.dtype, v.shape) for v in example.model.inputs]
    try:
        build(joined([example], folder / "example.onnx"), inputs, dims, cache=folder)
    except SpecError:
        return False
    return True


def test_every_path_is_needed(tmp_path: Path) -> None:
    """Where an op has a path for this target alone, the library refuses its definition, or fails to build it: else the path can go."""
    examples = [e for e in lowered("float32") if getattr(getattr(e.case.op, e.path), "targets", ()) == ("tensorrt",)]
    defined = [replace(e, model=bench.lower(e.case)) for e in examples]
    found = refusals(defined, tmp_path / "examples.onnx")
    needed = {(e.name, e.number) for e in defined if not block_arguments(type(e.case.op))}  # experts would be taken, but dense
    assert found.keys() <= needed
    assert not [(e.name, e.number) for e in defined if (e.name, e.number) in needed - found.keys() and builds(e, tmp_path)]
    assert found["segment_sum", 0] == f"{find()} refuses `ScatterND`, which this step needs: ScatterND with reduction is not supported"


@pytest.mark.parametrize("dtype", [pytest.param(d, marks=[pytest.mark.sweep] if d in ("float16", "bfloat16") else []) for d in DTYPES])
def test_every_operator_builds(dtype: str, tmp_path: Path) -> None:
    """Loops are a file of their own: TensorRT-RTX 1.7.1 fails to build a variance and an elementwise loop in one engine (gvn.cpp:325)."""
    examples = list(new(lowered(dtype)))
    loops = [e for e in examples if any(node.body is not None for node in e.model.nodes)]
    dims = {name: (s.min, s.opt, s.max) for name, s in bench.SYMBOLS.items()}
    for part in filter(None, ([e for e in examples if e not in loops], loops)):
        inputs = [(f"{e.prefix}{v.name}", v.dtype, v.shape) for e in part for v in e.model.inputs]
        engine = build(joined(part, tmp_path / "examples.onnx"), inputs, dims, cache=tmp_path)
        assert engine.path.stat().st_size > 1000 * len(part)


# What the paths compute, where their examples do not reach. ONNX Runtime runs them: the library itself computes on a GPU only.


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
@pytest.mark.parametrize(
    ("name", "function"), [("bitwise_and", np.bitwise_and), ("bitwise_or", np.bitwise_or), ("bitwise_xor", np.bitwise_xor)]
)
def test_bits_at_the_ends_of_the_range(name: str, function: Any, dtype: str) -> None:
    info = np.iinfo(dtype)
    ends = [info.min, info.min + 1, info.max // 3, info.max - 1, info.max, 0, 1, 0x55]
    x, y = (a.ravel().astype(dtype) for a in np.meshgrid(ends, ends))
    np.testing.assert_array_equal(run(name, "by_arithmetic", {}, x, y), function(x, y))


@pytest.mark.parametrize("reduce", ["add", "mul", "max", "min"])
@pytest.mark.parametrize("dtype", ["float32", "int64", "int32"])
def test_scatter_of_every_kind(reduce: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, source = (rng.integers(-9, 9, (5, 6)).astype(dtype) for _ in range(2))
    index = rng.integers(-5, 5, (5, 6))
    want = torch.tensor(x).scatter_reduce(
        0, torch.tensor(index % 5), torch.tensor(source), {"add": "sum", "mul": "prod"}.get(reduce, "a" + reduce)
    )
    np.testing.assert_array_equal(run("scatter", "by_mask", {"dim": 0, "reduce": reduce}, x, index, source), want.numpy())


@pytest.mark.parametrize("example", range(5))
def test_transposed_convolution_of_bfloat16(example: int) -> None:
    found = _lowered("conv_transpose", example, bench.op_class("conv_transpose").examples[example], "bfloat16")
    assert found is not None
    arrays = bench.feeds(found.case, found.model, bench.POINTS[0])
    values = {k: onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(a, TensorProto.BFLOAT16) for k, a in arrays.items()}
    proto = bench.proto(found.model, found.case.outputs)
    proto.graph.node.add(op_type="Cast", input=[proto.graph.output[0].name], output=["wide"]).attribute.add(name="to", type=2, i=1)
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("wide", TensorProto.FLOAT, None))
    got = [v.numpy() for v in bench.session(proto).run_with_ort_values(None, values)]
    bench.close(got, bench.expected(found.case, arrays, bench.POINTS[0]), 3e-2, "bfloat16")


def run(name: str, path: str, arguments: dict[str, Any], *arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """One path of an op in ONNX Runtime."""
    inputs = [f"{a.dtype.name}[{', '.join(map(str, a.shape))}]" for a in arrays]
    case = bench.case(bench.op_class(name), Example(arguments, inputs))
    model = bench.lower(case, path)
    assert model is not None
    result: np.ndarray[Any, Any] = bench.session(bench.proto(model, case.outputs)).run(None, {f"x{i}": a for i, a in enumerate(arrays)})[0]
    return result
