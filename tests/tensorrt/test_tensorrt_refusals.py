"""What the library refuses is said at the line of the spec that it came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from tensorrt_models import external, mlp, save

import lamina
from lamina.compiler.graph import Origin
from lamina.compiler.targets.tensorrt import build, check_support, find
from lamina.schema.diagnostics import Diagnostic, Span, SpecError

RTX = find("tensorrt_rtx")
SPEC = "lamina: 1\nmodel: toy\nbody:\n  - relu\n  - det\n  - neg\n  - nonzero\n"
SOURCES = {"toy.yaml": SPEC}
X = ("x", TensorProto.FLOAT, ["N", 4, 4])
HELP = "an engine holds the whole graph or nothing: write this step with other ops, or compile it for `onnxruntime` or `torch`"
ORIGINS = {
    "body/relu/Relu": Origin(Span("toy.yaml", 4, 5, 4), "body.relu"),
    "body/det/Det": Origin(Span("toy.yaml", 5, 5, 3), "body.det"),
    "body/neg/Neg": Origin(Span("toy.yaml", 6, 5, 3), "body.neg"),
    "body/nonzero/NonZero": Origin(Span("toy.yaml", 7, 5, 7), "body.nonzero"),
}


def check(model: Path) -> tuple[Diagnostic, ...]:
    return check_support(model, origins=ORIGINS, sources=SOURCES)


def chain(path: Path, *nodes: tuple[str, str], dtype: int = TensorProto.FLOAT, end: int = TensorProto.FLOAT) -> Path:
    """Operators one after the other, each (op type, name)."""
    made = [helper.make_node(op, [f"v{i}" if i else "x"], [f"v{i + 1}"], name=name) for i, (op, name) in enumerate(nodes)]
    return save(path, made, [("x", dtype, ["N", 4, 4])], [(f"v{len(nodes)}", end, None)])


def test_build_names_the_line(tmp_path: Path) -> None:
    model = chain(tmp_path / "model.onnx", ("Relu", "body/relu/Relu"), ("Det", "body/det/Det"))
    with pytest.raises(SpecError) as caught:
        build(model, [("x", "float32", ["N", 4, 4])], {"N": (1, 2, 4)}, cache=tmp_path / "cache", origins=ORIGINS, sources=SOURCES)
    assert str(caught.value) == (
        f"toy.yaml:5:5: error[tensorrt]: TensorRT-RTX {RTX.version} has no `Det`, which this step needs (in `body.det`)\n"
        "  5 |   - det\n"
        "    |     ^^^\n"
        f"  = help: {HELP}"
    )
    assert list((tmp_path / "cache").iterdir()) == []


def test_every_refusal_is_reported(tmp_path: Path) -> None:
    nodes = [("Det", "body/det/Det"), ("Neg", "body/neg/Neg"), ("NonZero", "body/nonzero/NonZero")]
    found = check(chain(tmp_path / "model.onnx", *nodes, end=TensorProto.INT64))
    assert [(d.span.line, d.message) for d in found] == [
        (5, f"TensorRT-RTX {RTX.version} has no `Det`, which this step needs (in `body.det`)"),
        (
            7,
            f"TensorRT-RTX {RTX.version} refuses `NonZero`, which this step needs: "
            "NonZero plugin creator version 1 was not found in plugin registry (in `body.nonzero`)",
        ),
    ]


def test_refusal_inside_a_loop(tmp_path: Path) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["c"], ["c2"], name="body/loop/Identity"),
            helper.make_node("Det", ["s"], ["d"], name="body/det/Det"),
            helper.make_node("Add", ["s", "d"], ["s2"], name="body/loop/Add"),
        ],
        "step",
        [
            helper.make_tensor_value_info(*i)
            for i in (("i", TensorProto.INT64, []), ("c", TensorProto.BOOL, []), ("s", TensorProto.FLOAT, [4, 4]))
        ],
        [helper.make_tensor_value_info(*o) for o in (("c2", TensorProto.BOOL, []), ("s2", TensorProto.FLOAT, [4, 4]))],
    )
    nodes = [
        helper.make_node("Neg", ["x"], ["n"], name="body/neg/Neg"),
        helper.make_node("Loop", ["m", "go", "n"], ["y"], name="body/loop/Loop", body=body),
        helper.make_node("Neg", ["y"], ["w"], name="body/neg/Neg_2"),
        helper.make_node("NonZero", ["w"], ["z"], name="body/nonzero/NonZero"),
    ]
    # Without a declared shape nothing is known of a loop's result, and the search for further refusals ends at the loop.
    weights = [helper.make_tensor("m", TensorProto.INT64, [], [3]), helper.make_tensor("go", TensorProto.BOOL, [], [True])]
    path = save(tmp_path / "model.onnx", nodes, [("x", TensorProto.FLOAT, [4, 4])], [("z", TensorProto.INT64, None)], weights)
    assert [d.span.line for d in check(path)] == [5]
    model = onnx.load(path)
    model.graph.value_info.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 4]))
    onnx.save(model, path)
    assert [d.span.line for d in check(path)] == [5, 7]


def test_node_that_the_parser_does_not_name(tmp_path: Path) -> None:
    """For this one the parser's error holds neither a node's name nor its operator."""
    nodes = [
        helper.make_node("Neg", ["x"], ["n"], name="body/neg/Neg"),
        helper.make_node("ScatterElements", ["n", "i", "x"], ["s"], name="body/det/ScatterElements", axis=0, reduction="max"),
        helper.make_node("Relu", ["s"], ["r"], name="body/relu/Relu"),
        helper.make_node("NonZero", ["r"], ["y"], name="body/nonzero/NonZero"),
    ]
    inputs = [("x", TensorProto.FLOAT, [4, 4]), ("i", TensorProto.INT64, [4, 4])]
    found = check(save(tmp_path / "model.onnx", nodes, inputs, [("y", TensorProto.INT64, None)]))
    assert [d.span.line for d in found] == [5, 7]
    assert found[0].message == (
        f"TensorRT-RTX {RTX.version} refuses `ScatterElements`, which this step needs: Unsupported reduction type (in `body.det`)"
    )


def test_reason_in_several_strings(tmp_path: Path) -> None:
    mode = {"mode": "cubic", "coordinate_transformation_mode": "tf_crop_and_resize"}
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], name="body/neg/Resize", **mode)
    weights = [helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 2, 2])]
    image = [("x", TensorProto.FLOAT, [1, 1, 4, 4])]
    (found,) = check(save(tmp_path / "model.onnx", [node], image, [("y", TensorProto.FLOAT, None)], weights))
    assert found.message == (
        f"TensorRT-RTX {RTX.version} refuses `Resize`, which this step needs: TensorRT only supports half_pixel, pytorch_half_pixel, "
        "tf_half_pixel_for_nn, asymmetric and align_corners transformation modes (in `body.neg`)"
    )


def test_wrong_types_give_the_reason(tmp_path: Path) -> None:
    model = chain(tmp_path / "model.onnx", ("Softmax", "body/relu/Relu"), dtype=TensorProto.INT64, end=TensorProto.INT64)
    (found,) = check(model)
    assert found.message.startswith(
        f"TensorRT-RTX {RTX.version} refuses `Softmax`, which this step needs: "
        "body/relu/Relu: input has type Int64 but must have type Float, Half"
    )
    assert found.message.endswith("or Int8 (in `body.relu`)")


def test_refused_input_has_no_node(tmp_path: Path) -> None:
    (found,) = check(chain(tmp_path / "model.onnx", ("Neg", "body/neg/Neg"), dtype=TensorProto.INT16, end=TensorProto.INT16))
    assert found.span == Span("toy.yaml", 1, 1)
    assert found.message == f"TensorRT-RTX {RTX.version} refuses the input `x`: Failed to convert ONNX date type to TensorRT data type"


def test_float64_ports_are_refused(tmp_path: Path) -> None:
    """The library would take them as float32 without a word."""
    model = chain(tmp_path / "model.onnx", ("Neg", "v1"), dtype=TensorProto.DOUBLE, end=TensorProto.DOUBLE)
    origins = {"v1": Origin(Span("toy.yaml", 6, 5, 3), "body.neg")}
    wanted = [
        (6, f"TensorRT-RTX {RTX.version} has no float64, which `x` is (in `body.neg`)"),
        (6, f"TensorRT-RTX {RTX.version} has no float64, which `v1` is (in `body.neg`)"),
    ]
    assert [(d.span.line, d.message) for d in check_support(model, origins=origins, sources=SOURCES)] == wanted
    with pytest.raises(SpecError) as caught:
        build(model, [("x", "float64", ["N", 4, 4])], {"N": (1, 2, 4)}, cache=tmp_path / "cache", origins=origins, sources=SOURCES)
    assert [(d.span.line, d.message) for d in caught.value.diagnostics] == wanted


def test_float64_inside_is_refused(tmp_path: Path) -> None:
    """The library would compute it in float32 without a word."""
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], name="body/relu/Relu", to=TensorProto.DOUBLE),
        helper.make_node("Exp", ["a"], ["b"], name="body/det/Det"),
        helper.make_node("Mul", ["b", "w"], ["c"], name="body/neg/Neg"),
        helper.make_node("Cast", ["c"], ["y"], name="body/nonzero/NonZero", to=TensorProto.FLOAT),
    ]
    weights = [helper.make_tensor("w", TensorProto.DOUBLE, [], [1.5])]
    model = save(tmp_path / "model.onnx", nodes, [X], [("y", TensorProto.FLOAT, None)], weights)
    origins = {n.output[0]: ORIGINS[n.name] for n in nodes}
    found = check_support(model, origins=origins, sources=SOURCES)
    assert [(d.span.line, d.message) for d in found] == [
        (4, f"TensorRT-RTX {RTX.version} has no float64, which `a` is (in `body.relu`)"),
        (6, f"TensorRT-RTX {RTX.version} has no float64, which `c` is (in `body.neg`)"),
    ]


def test_same_refusal_at_one_place_is_said_once(tmp_path: Path) -> None:
    nodes = [helper.make_node("Det", ["x"], [f"y{i}"], name=f"body/det/Det_{i}") for i in range(3)]
    outputs = [(f"y{i}", TensorProto.FLOAT, None) for i in range(3)]
    model = save(tmp_path / "model.onnx", nodes, [X], outputs)
    origins = {f"body/det/Det_{i}": Origin(Span("toy.yaml", 5, 5, 3), f"body.{i}") for i in range(3)}
    assert [d.span.line for d in check_support(model, origins=origins, sources=SOURCES)] == [5]


@pytest.mark.parametrize(("name", "line"), [("body/det/extra/Det", 5), ("body/det", 5), ("elsewhere/Det", 1), ("", 1)])
def test_unknown_names_take_the_nearest_place(tmp_path: Path, name: str, line: int) -> None:
    (found,) = check(chain(tmp_path / "model.onnx", ("Det", name)))
    assert found.span.line == line


def test_build_failure_names_the_line(tmp_path: Path) -> None:
    weights = [helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0] * 3)]
    nodes = [helper.make_node("Add", ["x", "w"], ["y"], name="body/neg/Neg")]
    model = save(tmp_path / "model.onnx", nodes, [("x", TensorProto.FLOAT, ["N"])], [("y", TensorProto.FLOAT, None)], weights)
    with pytest.raises(SpecError) as caught:
        build(model, [("x", "float32", ["N"])], {"N": (1, 2, 8)}, cache=tmp_path / "cache", origins=ORIGINS, sources=SOURCES)
    (found,) = caught.value.diagnostics
    assert found.span.line == 6
    assert found.message == (
        f"TensorRT-RTX {RTX.version} takes the operators but cannot build the engine: kOPT values for profile 0 violate shape constraints: "
        "body/neg/Neg: dimensions not compatible for elementwise. Broadcast has incompatible dimensions: 3 != 2 && 3 != 1 && 2 != 1 "
        "(in `body.neg`)"
    )


LOOPS = """
lamina: 1
model: loops
inputs: {x: "float32[2, T, 8]"}
dims: {T: {min: 4, opt: 5, max: 64}}
body:
  - map: {over: 2, values: {s: x}, do: [v = abs(s)], collect: {z: v}}
  - map:
      over: 0
      values: {s: x + z}
      do:
        - map: {over: 1, values: {r: s}, do: [v = abs(s)], collect: {w: v}}
      collect: {y: w}
outputs: {y: "float32[2, T, 8, 8]"}
"""


def test_build_failure_names_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library counts loops, and has no form for one whose results do not depend on its slices, if it is given one."""
    for change in ("hoist_constant", "tie_collected"):
        monkeypatch.setattr(f"lamina.compiler.lower.{change}", lambda graph: graph)
    (tmp_path / "loops.yaml").write_text(LOOPS)
    with pytest.raises(SpecError, match="cannot build the engine") as caught:
        lamina.compile(lamina.load(tmp_path / "loops.yaml"), tmp_path / "bundle", ["tensorrt"])
    assert [d.span.line for d in caught.value.diagnostics] == [12]


def test_check_takes_what_builds(tmp_path: Path) -> None:
    assert check(mlp(tmp_path / "model.onnx")) == ()


def test_check_needs_no_weights(tmp_path: Path) -> None:
    """64 GiB of weights that do not exist: nothing of that size is read, written or held."""
    model = external(tmp_path / "model.onnx", 2**17, placed=False, refused=True)
    (found,) = check_support(model, origins={"body/where/NonZero": Origin(Span("toy.yaml", 7, 5, 7), "")}, sources=SOURCES)
    assert found.span.line == 7
    assert [f.name for f in tmp_path.iterdir()] == ["model.onnx"]
    assert check(external(tmp_path / "model.onnx", 2**17, placed=False)) == ()


def test_refused_models_run_elsewhere(tmp_path: Path) -> None:
    """The refusals above are the library's own limits, not broken models."""
    x = np.arange(32, dtype=np.float32).reshape(2, 4, 4)
    for op, end, expected in (("Det", TensorProto.FLOAT, np.zeros(2)), ("NonZero", TensorProto.INT64, np.array(np.nonzero(x)))):
        session = onnxruntime.InferenceSession(chain(tmp_path / "model.onnx", (op, "n"), end=end))
        np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=1e-3)
