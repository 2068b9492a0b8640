"""Verification: what is right passes against an unfused reference, and what is broken on purpose is blamed on its line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

import lamina
from lamina.cli.verify import _text
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Constant, Node, Value
from lamina.compiler.op import Op
from lamina.compiler.passes.decompose import _Decomposition
from lamina.compiler.weights.seeded import Seeded
from lamina.schema.diagnostics import SpecError
from lamina.schema.dims import TensorType
from lamina.schema.spec import ModelSpec
from lamina.verify import verify

ZOO = Path(lamina.__file__).parent / "specs"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    spec = lamina.load(ZOO / "vision" / "vit.yaml", dim=48, depth=3, size=32, classes=10)
    return lamina.compile(spec, tmp_path / "bundle")


def edit(bundle: Path, name: str, change: Callable[[Path], None]) -> None:
    """Change a file of a bundle and its record, as a faulty compiler would have written it."""
    change(bundle / name)
    manifest = json.loads((bundle / "manifest.json").read_text())
    data = (bundle / name).read_bytes()
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_a_sound_bundle_passes_at_three_points(bundle: Path) -> None:
    report = verify(bundle)
    assert report.passed
    assert report.reference == "PyTorch, float64, unfused"
    assert [c.target for c in report.comparisons] == ["onnx"] * 3 + ["onnxruntime"] * 3
    assert [dict(c.dims) for c in report.comparisons[:3]] == [{"N": 1}, {"N": 2}, {"N": 8}]


def test_a_wrong_operator_is_blamed_on_its_line(bundle: Path) -> None:
    def change(path: Path) -> None:
        model = onnx.load(path, load_external_data=False)
        norms = [n for n in model.graph.node if n.op_type == "LayerNormalization" and "blocks.1." in n.name and "norm2" in n.name]
        (norm,) = norms
        next(a for a in norm.attribute if a.name == "epsilon").f = 1.0
        path.write_bytes(model.SerializeToString())

    edit(bundle, "model.onnx", change)
    report = verify(bundle)
    failed = [c for c in report.comparisons if not c.passed]
    assert {c.target for c in failed} == {"onnx"}
    blame = failed[0].divergences[0]
    assert blame.op == "layer_norm"
    assert "blocks.1." in blame.path
    lines = (bundle / "spec.yaml").read_text().splitlines()
    assert "name: norm2" in lines[blame.span.line - 1]


def test_wrong_numbers_are_blamed_on_the_step_that_reads_them(bundle: Path) -> None:
    model = onnx.load(bundle / "model.onnx", load_external_data=False)
    (weight,) = [i for i in model.graph.initializer if i.name.startswith("blocks.2.") and "fc1.weight" in i.name]
    place = {e.key: e.value for e in weight.external_data}

    def change(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(int(place["offset"]))
            file.write(np.full(int(place["length"]) // 4, 0.1, np.float32).tobytes())

    edit(bundle, "weights.bin", change)
    failed = [c for c in verify(bundle).comparisons if not c.passed]
    assert {c.target for c in failed} == {"onnx", "onnxruntime"}
    assert all(c.divergences[0].op == "linear" and "blocks.2." in c.divergences[0].path for c in failed)


def with_node(bundle: Path, part: str, change: Callable[[onnx.NodeProto], None]) -> str:
    """Change the first node whose name has this part, in model.onnx; returns what stands at its line of the bundle's spec."""
    model = onnx.load(bundle / "model.onnx", load_external_data=False)
    node = next(n for n in model.graph.node if part in n.name)
    change(node)
    edit(bundle, "model.onnx", lambda path: path.write_bytes(model.SerializeToString()) and None)
    return next(p.value for p in node.metadata_props if p.key == "lamina.path")


def unknown(node: onnx.NodeProto) -> None:
    node.op_type, node.domain = "Nothing", ""


def transposed(node: onnx.NodeProto) -> None:
    node.op_type = "Transpose"
    del node.input[1:], node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("perm", [0, 1]))


@pytest.mark.parametrize("change", [unknown, transposed])
def test_a_file_that_does_not_open_is_blamed_on_a_line(bundle: Path, change: Callable[[onnx.NodeProto], None]) -> None:
    path = with_node(bundle, "blocks.1.encoder.mlp.fc2/MatMul", change)
    report = verify(bundle)
    assert not report.passed
    assert {c.target for c in report.comparisons} == {"onnxruntime"}
    ((target, (found, *_)),) = report.failures.items()
    assert target == "onnx"
    assert f"(in `{path}`)" in found.message
    assert "name: fc2" in Path(found.span.file).read_text().splitlines()[found.span.line - 1]
    assert f"FAIL onnx         {found.span}: {found.message}" in _text(report).splitlines()


def test_a_run_that_fails_is_blamed_on_a_line(tmp_path: Path) -> None:
    text = CONVERTS.lstrip()
    (tmp_path / "spec.yaml").write_text(text)
    bundle = lamina.compile(lamina.load(tmp_path / "spec.yaml"), tmp_path / "bundle", ["onnx"])

    def narrower(path: Path) -> None:
        model = onnx.load(path, load_external_data=False)
        (gather,) = [n for n in model.graph.node if n.op_type == "Gather"]
        index = next(i for i in model.graph.initializer if i.name == gather.input[0])
        shorter = onnx.numpy_helper.from_array(np.zeros((2, 3), np.float32), index.name)
        index.CopyFrom(shorter)
        path.write_bytes(model.SerializeToString())

    edit(bundle, "model.onnx", narrower)
    ((target, (found,)),) = verify(bundle).failures.items()
    assert target == "onnx"
    assert found.span.line == 7
    assert "(in `gather`)" in found.message


def checkpoint(spec: ModelSpec, path: Path) -> Path:
    """Random weights as a file, with running variances that are positive."""
    parameters = elaborate(spec).graph.parameters()
    seeded = Seeded(3)
    save_file({p.name: np.array(np.abs(seeded.get(p).numpy()) + 0.1, np.float32) for p in parameters}, path)
    return path


def test_weights_are_read_back_from_the_bundle(tmp_path: Path) -> None:
    spec = lamina.load(ZOO / "vision" / "mixer.yaml", variant="s16", depth=1, classes=10)
    spec = spec.model_copy(update={"weights": None})
    bundle = lamina.compile(spec, tmp_path / "bundle", weights=checkpoint(spec, tmp_path / "own.safetensors"))
    assert verify(bundle).passed


def test_weights_that_were_fused_away_are_asked_for(tmp_path: Path) -> None:
    spec = lamina.load(ZOO / "vision" / "resnet.yaml", depths=[1, 1, 1, 1], classes=10)
    spec = spec.model_copy(update={"weights": None})
    weights = checkpoint(spec, tmp_path / "own.safetensors")
    bundle = lamina.compile(spec, tmp_path / "bundle", weights=weights)
    with pytest.raises(SpecError, match="give the checkpoint with --weights"):
        verify(bundle)
    assert verify(bundle, weights=weights).passed


CONVERTS = """
lamina: 1
model: converts
inputs: {i: "int64[N]"}
dims: {N: {min: 8, max: 64}}
body:
  - table = parameter([9, 3], init='normal(1)', name='table')
  - gather(table, i + 7, dim=0)
outputs: {y: "float32[N, 3]"}
"""
LOOKS_UP = """
lamina: 1
model: looks_up
inputs: {x: "float32[N]"}
dims: {N: {min: 8, max: 64}}
body:
  - far = cast(floor(x * 10), 'int64')
  - y = gather(parameter([3], init='normal(1)', name='table'), far)
outputs: {y: "float32[N]"}
"""
ENDLESS = """
lamina: 1
model: endless
inputs: {x: "float32[N, 4]"}
dims: {N: {min: 2, max: 64}}
body:
  - y = exp(x) + 1
  - y = log(y - y)
  - y = softmax(y - y, dim=-1)
outputs: {y: "float32[N, 4]"}
"""


def written(text: str, folder: Path) -> Path:
    (folder / "spec.yaml").write_text(text.lstrip())
    return lamina.compile(lamina.load(folder / "spec.yaml"), folder / "bundle", ["onnx"])


def test_a_step_without_a_value_for_what_is_drawn_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="`gather` has no value for inputs drawn at random") as caught:
        verify(written(LOOKS_UP, tmp_path))
    assert caught.value.diagnostics[0].span.line == 7


def test_where_nan_comes_from(tmp_path: Path) -> None:
    found = verify(written(ENDLESS, tmp_path)).not_finite
    assert found is not None
    assert (found.op, found.span.line) == ("sub", 8)


def test_steps_are_compared_where_outputs_agree(bundle: Path) -> None:
    report = verify(bundle, blame=True)
    assert report.passed
    assert all(0 < c.divergences[0].error < 1e-5 for c in report.comparisons)


TAKEN = """
lamina: 1
model: taken
inputs: {x: "float32[N, 4]"}
dims: {N: {min: 1, max: 64}}
blocks:
  part: {body: [{linear: 4, name: type}, {layer_norm: {}, name: forward}]}
body:
  - part: {}
    name: forward
  - part: {}
    name: train
outputs: {y: "float32[N, 4]"}
"""


def test_weights_may_have_the_names_of_what_a_module_does(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(TAKEN)
    assert verify(lamina.compile(lamina.load(tmp_path / "spec.yaml"), tmp_path / "bundle", ["torch"])).passed


def test_steps_of_a_decoder_that_keeps_room_for_its_caches_are_compared(tmp_path: Path) -> None:
    spec = lamina.load(ZOO / "language" / "gpt2.yaml", small=True)
    report = verify(lamina.compile(spec, tmp_path / "bundle", ["onnxruntime"]), blame=True)
    assert report.passed
    assert all(0 < c.divergences[0].error < 1e-5 for c in report.comparisons)


LOOPED = """
lamina: 1
model: looped
inputs: {x: "float32[N, T, 4]"}
dims: {N: {min: 1, max: 8}, T: {min: 2, max: 16}}
body:
  - start = linear(x[:, 0], 4, name='first')
  - scan:
      over: 1
      values: {v: x}
      carry: {h: start}
      do:
        - kept = sigmoid(linear(v, 4, name='gate'))
        - h = kept * h
        - map:
            over: 1
            values: {column: h}
            do:
              - y = tanh(column) + sum(column, dims=0)
            collect: {y: y}
        - h = h + 0.1 * y
      collect: {h_all: h}
  - iterate:
      carry: {z: h}
      until: 1e-6
      at_most: 9
      do:
        - half = cos(z)
        - z = (z + half) / 2
outputs: {h_all: "float32[N, T, 4]", z: "float32[N, 4]"}
"""


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Lower an op, where it stands on a line that holds a text, to something else: a tenth more than it should be."""

    def at(op: str, text: str) -> None:
        lower = _Decomposition._lower

        def wrongly(self: _Decomposition, node: Node, found: Op) -> list[Node]:
            made = lower(self, node, found)
            lines = node.origin.span.file and Path(node.origin.span.file).read_text().splitlines()
            if node.op_type != op or self.target == "definition" or text not in lines[node.origin.span.line - 1]:
                return made
            (result,), right = node.outputs, Value(f"{node.outputs[0].name}/right", node.outputs[0].type)
            factor = Constant(f"{result.name}/factor", TensorType(result.dtype, ()), np.array(1.1, result.dtype))
            *others, last = made
            return [*others, replace(last, outputs=(right,)), Node("Mul", (right, factor), (result,), node.origin, op=found)]

        monkeypatch.setattr(_Decomposition, "_lower", wrongly)

    return at


@pytest.mark.parametrize("target", ["onnx", "onnxruntime", "torch"])
@pytest.mark.parametrize(
    ("op", "line"),
    [("linear", "name='gate'"), ("mul", "h = kept * h"), ("tanh", "y = tanh"), ("cos", "half = cos"), ("linear", "name='first'")],
)
def test_a_wrong_step_in_a_loop_is_blamed_on_its_line(
    target: str, op: str, line: str, tmp_path: Path, wrong: Callable[[str, str], None]
) -> None:
    """In a recurrence, in a map within it, in a fixed point; and before them."""
    (tmp_path / "spec.yaml").write_text(LOOPED.lstrip())
    wrong(op, line)
    bundle = lamina.compile(lamina.load(tmp_path / "spec.yaml"), tmp_path / "bundle", [target])
    failed = [c for c in verify(bundle).comparisons if not c.passed]
    assert failed
    lines = (bundle / "spec.yaml").read_text().splitlines()
    assert [(c.divergences[0].op, line in lines[c.divergences[0].span.line - 1]) for c in failed] == [(op, True)] * len(failed)


FOLDED = """
lamina: 1
model: folded
inputs: {x: "float32[N, 4]"}
dims: {N: {min: 1, max: 8}}
body:
  - rates = parameter([4], init='normal(1)', name='rates')
  - rates = exp(rates)
  - x * (0 - rates)
outputs: {y: "float32[N, 4]"}
"""


@pytest.mark.parametrize("target", ["onnx", "onnxruntime", "torch"])
def test_a_wrong_step_that_was_folded_is_blamed_on_its_line(target: str, tmp_path: Path, wrong: Callable[[str, str], None]) -> None:
    (tmp_path / "spec.yaml").write_text(FOLDED.lstrip())
    wrong("exp", "exp(rates)")
    (comparison, *_) = verify(lamina.compile(lamina.load(tmp_path / "spec.yaml"), tmp_path / "bundle", [target])).comparisons
    assert comparison.divergences[0].op == "exp"


def test_where_nan_comes_from_in_a_loop(tmp_path: Path) -> None:
    text = LOOPED.replace("y = tanh(column)", "y = log(0 - column * column - 1)")  # and `kept * h` in every later pass
    found = verify(written(text, tmp_path)).not_finite
    assert found is not None
    assert found.op == "log"
    assert "y = log" in text.lstrip().splitlines()[found.span.line - 1]
