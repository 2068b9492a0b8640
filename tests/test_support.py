"""`check --target`: what a target refuses is said at its line, and what it takes is not refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnxruntime
import op_harness as bench
import pytest
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as state

import lamina
from lamina.compiler.graph import Graph, Origin
from lamina.compiler.load import load_spec
from lamina.compiler.op import Example, OpError, paths_for
from lamina.compiler.support import check_target
from lamina.compiler.targets.onnxruntime import check_support
from lamina.compiler.targets.torch import registry
from lamina.schema.diagnostics import Span, SpecError

TARGETS = ("onnx", "onnxruntime", "tensorrt", "torch")
ORT = f"ONNX Runtime {onnxruntime.__version__}"
CAST = "convert what it reads with cast(x, 'float32'), or compile it for `torch`"
SPEC = """lamina: 1
model: toy
inputs: {{x: "{dtype}[N, 3, 8, 8]"}}
dims: {{N: {{min: 1, opt: 2, max: 4}}}}
body:
  - conv: {{out: 4, kernel: 3}}
  - x * 2
  - gelu(x) + gelu(x * 3)
  - conv: {{out: 4, kernel: 1}}
outputs: {{y: "{dtype}[N, 4, 6, 6]"}}
"""


def diagnostics(text: str, target: str, tmp_path: Path) -> list[tuple[int, str, str, str]]:
    """Line, code, message and hint of all that the target refuses."""
    path = tmp_path / "toy.yaml"
    path.write_text(text)
    try:
        check_target(load_spec(path), target)
    except SpecError as error:
        found = error
    else:
        return []
    assert found.sources == {str(path): text}
    return [(d.span.line, d.code, d.message, d.hint) for d in found.diagnostics]


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_to_say(target: str, tmp_path: Path) -> None:
    assert diagnostics(SPEC.format(dtype="float32"), target, tmp_path) == []


def test_unknown_target(tmp_path: Path) -> None:
    found = diagnostics(SPEC.format(dtype="float32"), "tensorr", tmp_path)
    assert found == [(1, "target", "there is no target `tensorr`", "did you mean `tensorrt`?")]


@pytest.mark.parametrize("target", ["onnx", "onnxruntime"])
def test_missing_kernels_are_named_at_their_lines(target: str, tmp_path: Path) -> None:
    """The inside of Gelu, a function that ONNX Runtime unfolds, has no name in its error: the step is found all the same."""
    assert diagnostics(SPEC.format(dtype="float64"), target, tmp_path) == [
        (line, "onnxruntime", f"{ORT} has no kernel for `{op}` of float64 on the CPU, which this step needs (in `{path}`)", CAST)
        for line, op, path in ((6, "Conv", "conv"), (8, "Gelu", "gelu"), (8, "Gelu", "gelu_2"), (9, "Conv", "conv_2"))
    ]


def test_a_repeated_step_is_named_once(tmp_path: Path) -> None:
    text = SPEC.format(dtype="float64").replace("  - gelu(x) + gelu(x * 3)\n", "  - repeat: 3\n    do: [softplus]\n")
    assert [d[0] for d in diagnostics(text, "onnxruntime", tmp_path)] == [6, 9, 10]


def test_torch_names_the_operator_that_it_cannot_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(registry.known(), "Gelu")
    found = diagnostics(SPEC.format(dtype="float32"), "torch", tmp_path)
    assert found == [(8, "torch", "the PyTorch target has no lowering for the operator Gelu", "")]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_check_agrees_with_sessions(dtype: str) -> None:
    """For every example, with its first input's dtype exchanged where the op allows: refused exactly where no session opens."""
    wrong = {}
    for name in bench.op_names():
        for i, example in enumerate(bench.op_class(name).examples):
            case = exchanged(name, example, dtype)
            for path in {path_of(case, target) for target in ("onnx", "onnxruntime")} if case is not None else ():
                said, opens = asked(case, path)
                if said == opens:
                    wrong[name, i, path] = said
    assert wrong == {}


def exchanged(name: str, example: Example, dtype: str) -> bench.Case | None:
    """The example with another dtype, or None where its op refuses that."""
    first = example.inputs[0].partition("[")[0] if example.inputs else ""
    inputs = [dtype + text[len(first) :] if first and text.startswith(f"{first}[") else text for text in example.inputs]
    try:
        return bench.case(bench.op_class(name), replace(example, inputs=inputs))
    except OpError:
        return None


def path_of(case: bench.Case, target: str) -> str:
    return next(path for path in paths_for(type(case.op), target) if bench.lower(case, path) is not None)


def asked(case: bench.Case, path: str) -> tuple[bool, bool]:
    """Whether the check refuses the op, and whether a session opens."""
    model = bench.lower(case, path)
    assert model is not None
    proto = bench.proto(model, case.outputs)
    origins = {node.outputs[0].name: Origin(Span("ops", 1, 1), case.op.name) for node in Graph("op", (), (), model.nodes).all_nodes()}
    found = check_support(proto, origins)
    assert all("no kernel" in d.message for d in found)
    try:
        bench.session(proto)
    except (state.NotImplemented, state.InvalidGraph):
        return bool(found), False
    return bool(found), True


def test_operators_of_one_step_are_named_together(tmp_path: Path) -> None:
    text = SPEC.format(dtype="bfloat16").replace("  - x * 2\n", "  - group_norm: 2\n")
    found = {d[0]: d[2] for d in diagnostics(text, "onnx", tmp_path)}
    assert found[7] == (
        f"{ORT} has no kernel for `InstanceNormalization`, `Mul` or `Add` of bfloat16 on the CPU, which this step needs (in `group_norm`)"
    )


def test_refusal_that_no_operator_explains() -> None:
    """Each node opens alone, but an output is declared with a dtype that it does not have."""
    node = helper.make_node("Relu", ["x"], ["y"], name="y")
    ports = [helper.make_tensor_value_info(name, dtype, [2]) for name, dtype in (("x", TensorProto.FLOAT), ("y", TensorProto.FLOAT16))]
    model = helper.make_model(
        helper.make_graph([node], "toy", ports[:1], ports[1:]), opset_imports=[helper.make_opsetid("", 24)], ir_version=11
    )
    (found,) = check_support(model, {"y": Origin(Span("toy.yaml", 6, 5), "relu")})
    assert found.message.startswith(f"{ORT} cannot open the model: ")
    assert "Type Error" in found.message
    assert found.span == Span("toy.yaml", 6, 5)


def test_what_a_loop_holds_is_named_at_its_own_place(tmp_path: Path) -> None:
    loop = '  - map: {over: 1, values: {v: x}, do: ["w = softmax(v)"], collect: {y: w}}\n'
    found = diagnostics(
        SPEC.format(dtype="bfloat16").split("  - conv", 1)[0] + loop + 'outputs: {y: "bfloat16[N, 3, 8, 8]"}\n', "onnx", tmp_path
    )
    assert found == [
        (6, "onnxruntime", f"{ORT} has no kernel for `Softmax` of bfloat16 on the CPU, which this step needs (in `softmax`)", CAST)
    ]


def test_an_input_that_nothing_reads_is_refused_where_it_is_declared(tmp_path: Path) -> None:
    """TensorRT has no float64, not even to leave alone."""
    pytest.importorskip("tensorrt_rtx")
    (tmp_path / "unread.yaml").write_text(
        "lamina: 1\nmodel: unread\ninputs:\n  x: 'float32[n, 3]'\n  unread: 'float64[n]'\n"
        "dims: {n: {min: 1, opt: 2, max: 4}}\nbody: [relu]\noutputs: {y: 'float32[n, 3]'}\n"
    )
    spec = lamina.load(tmp_path / "unread.yaml")
    with pytest.raises(SpecError, match=r"unread\.yaml:5:3: error\[tensorrt\]: .* has no float64, which `unread` is"):
        check_target(spec, "tensorrt")
    with pytest.raises(SpecError, match=r"unread\.yaml:5:3: error\[tensorrt\]"):
        lamina.compile(spec, tmp_path / "bundle", ["tensorrt"])
