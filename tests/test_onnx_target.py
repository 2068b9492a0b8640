"""The ONNX files of a bundle: versions, names, dims, one weight file that both share, and outputs of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

import lamina

Array = np.ndarray[Any, Any]
FILES = ("model.onnx", "model.ort.onnx")
POOLFORMER = Path(__file__).parent.parent / "specs" / "vision" / "poolformer.yaml"

# Attention, so that the two files differ; a norm, constants small and large, and a weight that is folded into another.
MIXED = """
lamina: 1
model: mixed
use: [attention]
inputs: {x: "float32[N, T, 32]"}
dims: {N: {min: 1, opt: 2, max: 8}, T: {min: 1, opt: 8, max: 16}}
body:
  - {layer_norm: {}, name: norm}
  - residual: [self_attention: 4]
  - positions = sin(arange(512, dtype='float32'))[:, None] * linspace(0.1, 1, 32)
  - x + positions[:T] * 0.5
  - {linear: 640, name: wide}
  - x * full([640], 2.0)
outputs: {"y": "float32[N, T, 640]"}
"""


def compiled(text: str, folder: Path) -> Path:
    spec = folder / "spec.yaml"
    spec.write_text(text)
    return lamina.compile(lamina.load(spec), folder / "bundle")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(MIXED, tmp_path_factory.mktemp("mixed"))


def load(path: Path) -> onnx.ModelProto:
    return onnx.load(path, load_external_data=False)


def places(model: onnx.ModelProto) -> Iterator[tuple[str, int, int]]:
    """Name, offset and length of every tensor that is not in the file itself."""
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            assert entries["location"] == "weights.bin"
            yield tensor.name, int(entries["offset"]), int(entries["length"])


@pytest.mark.parametrize("file", FILES)
def test_versions_that_runtimes_take(bundle: Path, file: str) -> None:
    """Opset 24 is the newest that TensorRT documents, and needs ONNX Runtime 1.24."""
    model = load(bundle / file)
    assert {o.domain: o.version for o in model.opset_import}[""] == 24
    assert model.ir_version == 11
    assert {n.domain for n in model.graph.node} <= {o.domain for o in model.opset_import}


def test_the_portable_file_is_strictly_standard(bundle: Path) -> None:
    model = load(bundle / "model.onnx")
    assert [o.domain for o in model.opset_import] == [""]
    standard = {s.name for s in onnx.defs.get_all_schemas() if s.domain == ""}
    assert {n.op_type for n in model.graph.node} <= standard
    assert {n.op_type for n in load(bundle / "model.ort.onnx").graph.node} != {n.op_type for n in model.graph.node}


def test_both_files_share_one_weight_file_in_which_nothing_stands_twice(bundle: Path) -> None:
    found = {name: (offset, length) for file in FILES for name, offset, length in places(load(bundle / file))}
    again = {name: (offset, length) for file in reversed(FILES) for name, offset, length in places(load(bundle / file))}
    assert found == again
    assert sorted(p.name for p in bundle.iterdir() if p.suffix == ".bin") == ["weights.bin"]
    end = 0
    for offset, length in sorted(found.values()):
        assert end <= offset < end + 4096
        assert offset % (4096 if length > 1 << 20 else 64) == 0
        end = offset + length
    assert end == (bundle / "weights.bin").stat().st_size


@pytest.mark.parametrize("file", FILES)
def test_small_constants_are_embedded_and_large_ones_are_not(bundle: Path, file: str) -> None:
    model = load(bundle / file)
    outside = {name: length for name, _, length in places(model)}
    embedded = [t for t in model.graph.initializer if t.name not in outside]
    assert embedded
    assert all(len(t.raw_data) <= 1024 for t in embedded)
    assert 512 * 32 * 4 in outside.values()
    assert 640 * 4 in outside.values()


@pytest.mark.parametrize("file", FILES)
def test_tensors_have_the_sizes_that_their_types_ask_for(bundle: Path, file: str) -> None:
    model = load(bundle / file)
    lengths = {name: length for name, _, length in places(model)}
    for tensor in model.graph.initializer:
        itemsize = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        assert lengths.get(tensor.name, len(tensor.raw_data)) == int(np.prod(tensor.dims, dtype=np.int64)) * itemsize


@pytest.mark.parametrize("file", FILES)
def test_every_operator_and_every_tensor_is_read(bundle: Path, file: str) -> None:
    graph = load(bundle / file).graph
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    assert all(read.intersection(node.output) for node in graph.node)
    assert {tensor.name for tensor in graph.initializer} <= read
    made = [name for node in graph.node for name in node.output if name]
    assert len(made) == len(set(made))
    assert len({node.name for node in graph.node}) == len(graph.node)


@pytest.mark.parametrize("file", FILES)
def test_inputs_and_outputs_carry_the_spec_s_names_and_dims(file: str, tmp_path: Path) -> None:
    bundle = lamina.compile(lamina.load(POOLFORMER, depths=[1, 1, 1, 1], widths=[8, 8, 8, 8]), tmp_path / "bundle")
    session = ort.InferenceSession(bundle / file, providers=["CPUExecutionProvider"])
    assert [(v.name, v.type, v.shape) for v in session.get_inputs()] == [("image", "tensor(float)", ["N", 3, "H", "W"])]
    assert [(v.name, v.type, v.shape) for v in session.get_outputs()] == [("logits", "tensor(float)", ["N", 1000])]


def test_operators_say_where_they_come_from(bundle: Path) -> None:
    (matmul,) = [n for n in load(bundle / "model.onnx").graph.node if any("wide" in name for name in n.input) and n.op_type == "MatMul"]
    notes = {p.key: p.value for p in matmul.metadata_props}
    line = MIXED.splitlines().index("  - {linear: 640, name: wide}") + 1
    assert notes["lamina.source"].startswith(f"spec.yaml:{line}:")
    assert notes["lamina.path"] == "wide"


OUTPUTS = """
lamina: 1
model: outputs
inputs: {x: "float32[N, 4]"}
dims: {N: {min: 1, opt: 2, max: 8}}
body:
  - w = parameter([4, 4], init='normal(1.0)', name='w')
  - same = x
  - weight = w
  - again = w
  - computed = exp(w)
  - twin = exp(w)
  - made = relu(x)
  - remade = relu(x)
  - renamed = made
  - ramp = arange(5)
  - threes = full([400, 2], 3.0)
outputs:
  same: float32[N, 4]
  weight: float32[4, 4]
  again: float32[4, 4]
  computed: float32[4, 4]
  twin: float32[4, 4]
  made: float32[N, 4]
  remade: float32[N, 4]
  renamed: float32[N, 4]
  ramp: int64[5]
  threes: float32[400, 2]
"""


@pytest.mark.parametrize("file", FILES)
def test_outputs_may_be_inputs_weights_constants_and_each_other(file: str, tmp_path: Path) -> None:
    bundle = compiled(OUTPUTS, tmp_path)
    onnx.checker.check_model(bundle / file, full_check=True)
    session = ort.InferenceSession(bundle / file, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    names = [output.name for output in session.get_outputs()]
    assert names == ["same", "weight", "again", "computed", "twin", "made", "remade", "renamed", "ramp", "threes"]
    got = dict(zip(names, session.run(None, {"x": x}), strict=True))
    (stored,) = [t for t in onnx.load(bundle / file).graph.initializer if t.name == "w"]
    w = numpy_helper.to_array(stored)
    assert w.std() > 0.5
    positive = x.clip(0)
    want = {"same": x, "weight": w, "again": w, "made": positive, "remade": positive, "renamed": positive}
    for name, array in {**want, "ramp": np.arange(5), "threes": np.full((400, 2), 3.0, np.float32)}.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)
    for name in ("computed", "twin"):
        np.testing.assert_allclose(got[name], np.exp(w), rtol=1e-6)


SYMBOLIC = """
lamina: 1
model: symbolic
inputs: {x: "float32[N, T, 6]"}
dims: {N: {min: 1, opt: 2, max: 8}, T: {min: 4, opt: 8, max: 64, multiple_of: 4}}
body:
  - flat = reshape(x, [N * T, 6])
  - pairs = reshape(x, [N, T // 2, 12])
  - swapped = reshape(x, [T, 3, 2 * N])
  - spread = expand(x[:, :1], [N, T, 6])
  - grown = expand(x[None, :, :, :1], [T // 4, N, T, N + T])
  - tail = x[:, T // 2:]
  - inner = x[:, 1:T - 1, 1:-1]
  - strided = x[:, ::2]
  - count = arange(N * T)
  - between = arange(N, N + T, 2)
  - blank = zeros([T, N + 1])
  - filled = full([N, T // 4], 2.5)
outputs:
  flat: float32[N * T, 6]
  pairs: float32[N, T // 2, 12]
  swapped: float32[T, 3, 2 * N]
  spread: float32[N, T, 6]
  grown: float32[T // 4, N, T, N + T]
  tail: float32[N, T // 2, 6]
  inner: float32[N, T - 2, 4]
  strided: float32[N, T // 2, 6]
  count: int64[N * T]
  between: int64[T // 2]
  blank: float32[T, N + 1]
  filled: float32[N, T // 4]
"""


def symbolic(x: Array) -> dict[str, Array]:
    """What the spec above says, in NumPy."""
    n, t, _ = x.shape
    return {
        "flat": x.reshape(n * t, 6),
        "pairs": x.reshape(n, t // 2, 12),
        "swapped": x.reshape(t, 3, 2 * n),
        "spread": np.broadcast_to(x[:, :1], (n, t, 6)),
        "grown": np.broadcast_to(x[None, :, :, :1], (t // 4, n, t, n + t)),
        "tail": x[:, t // 2 :],
        "inner": x[:, 1 : t - 1, 1:-1],
        "strided": x[:, ::2],
        "count": np.arange(n * t),
        "between": np.arange(n, n + t, 2),
        "blank": np.zeros((t, n + 1)),
        "filled": np.full((n, t // 4), 2.5),
    }


@pytest.mark.parametrize("file", FILES)
def test_shapes_with_two_dynamic_dims(file: str, tmp_path: Path) -> None:
    bundle = compiled(SYMBOLIC, tmp_path)
    onnx.checker.check_model(bundle / file, full_check=True)
    session = ort.InferenceSession(bundle / file, providers=["CPUExecutionProvider"])
    for n, t in ((1, 4), (3, 8), (2, 12), (8, 64)):
        x = np.random.default_rng(0).standard_normal((n, t, 6)).astype(np.float32)
        want = symbolic(x)
        for name, got in zip(want, session.run(list(want), {"x": x}), strict=True):
            np.testing.assert_array_equal(got, want[name], err_msg=f"{name} at N={n}, T={t}")
