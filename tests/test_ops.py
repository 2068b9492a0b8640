"""Every op, found by walking, on each of its examples: shapes against onnx's inference, values against PyTorch in float64."""

from __future__ import annotations

import inspect

import onnx
import op_harness as bench
import pytest
from onnx.reference import ReferenceEvaluator

from lamina.compiler.numeric import ONNX_DTYPE
from lamina.compiler.op import Example, Op, paths_for
from lamina.schema.dims import value_of

EXAMPLES = [pytest.param(n, e, id=f"{n}-{i}") for n in bench.op_names() for i, e in enumerate(bench.op_class(n).examples)]
# onnx's reference implementation cannot run these in float64: (op, why).
NO_REFERENCE = {
    "conv_transpose": "onnx's evaluator mishandles groups",
    "grid_sample": "onnx's evaluator rounds to float32",
    "interpolate": "onnx's evaluator rounds cubic weights to float32",
    "local_response_norm": "onnx's evaluator sums over the wrong channels when there are several samples",
    "max_pool": "onnx's evaluator overruns its output in one dimension",
}


@pytest.mark.parametrize("name", bench.op_names())
def test_op_is_complete(name: str) -> None:
    cls = bench.op_class(name)
    assert cls.name == name
    assert cls.__name__ == "".join(part.capitalize() for part in name.split("_"))
    assert not inspect.isabstract(cls)
    assert not cls.__subclasses__()
    assert inspect.getdoc(cls) != inspect.getdoc(Op)
    assert len(cls.examples) >= 2
    assert name in bench.references(), f"tests/op_references has no expectation for {name}"


def test_every_reference_has_its_op() -> None:
    assert bench.references().keys() == set(bench.op_names())


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_definition_in_onnx_runtime(name: str, example: Example) -> None:
    case = bench.case(bench.op_class(name), example)
    model = bench.lower(case)
    assert model is not None
    proto = bench.proto(model, case.outputs)
    onnx.checker.check_model(proto, full_check=True)
    session = bench.session(proto)
    for env in bench.POINTS:
        _inferred_shapes_agree(case, model, env)
        arrays = bench.feeds(case, model, env)
        got = session.run(None, arrays)
        for array, type_ in zip(got, case.outputs, strict=True):
            assert (array.dtype.name, array.shape) == (type_.dtype, tuple(value_of(s, env) for s in type_.shape))
        bench.close(got, bench.expected(case, arrays, env), example.rtol, f"at {env}")


def _inferred_shapes_agree(case: bench.Case, model: bench.Model, env: dict[str, int]) -> None:
    # Data propagation takes a rank-1 input for a shape, so it is asked for only where shapes are computed.
    computed = any(node.op_type == "Shape" for node in model.nodes)
    proto = bench.proto(model, case.outputs, env)
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=computed)
    for info, type_ in zip(inferred.graph.output, case.outputs, strict=True):
        assert info.type.tensor_type.elem_type == ONNX_DTYPE[type_.dtype]
        for dim, size in zip(info.type.tensor_type.shape.dim, type_.shape, strict=False):
            assert not dim.HasField("dim_value") or dim.dim_value == value_of(size, env)


@pytest.mark.parametrize(("name", "example"), [p for p in EXAMPLES if p.values[0] not in NO_REFERENCE])
def test_definition_is_exact_in_float64(name: str, example: Example) -> None:
    case = bench.case(bench.op_class(name), example, double=True)
    model = bench.lower(case)
    assert model is not None
    env = bench.POINTS[1]
    arrays = bench.feeds(case, model, env)
    got = ReferenceEvaluator(bench.proto(model, case.outputs)).run(None, arrays)
    assert isinstance(got, list)
    bench.close(got, bench.expected(case, arrays, env), 2e-7, "float64")


# ONNX Runtime cannot be fed bfloat16: tests/torch/test_bfloat16_forms.py runs these in PyTorch.
BFLOAT16_ONLY = {("conv_transpose", "in_float32")}
# The examples are of float32: tests/trust/regressions has this one.
FLOAT64_ONLY = {("gelu", "tanh_in_float64")}
# Weights come in blocks by a pass, not to an op by itself: tests/weights/test_precision.py.
BLOCKED_ONLY = {("linear", "blocked"), ("embedding", "blocked")}
FAST = [
    pytest.param(n, path, id=f"{n}-{path}")
    for n in bench.op_names()
    for path in sorted({p for t in ("onnx", "onnxruntime", "tensorrt") for p in paths_for(bench.op_class(n), t)} - {"define"})
]


@pytest.mark.parametrize(("name", "path"), FAST)
def test_fast_path_agrees_where_it_accepts(name: str, path: str) -> None:
    accepted = 0
    for example in bench.op_class(name).examples:
        case = bench.case(bench.op_class(name), example)
        model = bench.lower(case, path)
        if model is None:  # the path declines this example
            continue
        accepted += 1
        session = bench.session(bench.proto(model, case.outputs))
        for env in bench.POINTS:
            arrays = bench.feeds(case, model, env)
            bench.close(session.run(None, arrays), bench.expected(case, arrays, env), example.rtol, f"{example.arguments} at {env}")
    assert accepted or (name, path) in BFLOAT16_ONLY | BLOCKED_ONLY | FLOAT64_ONLY, f"no example of {name} reaches its fast path {path}"
