"""Sessions: arrays in, arrays out, on every backend that this machine has; and what is said when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import handmade
import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper

from lamina.runtime import BackendMissing, BundleError, InputError, Session

X = np.arange(6, dtype=np.float32).reshape(2, 3)
ENGINE = {"file": "engines/a.engine", "library": "tensorrt_rtx", "version": "1.7.1.116", "key": "k"}


def test_arrays_in_arrays_out(tmp_path: Path) -> None:
    with Session(handmade.write(tmp_path), threads=1) as session:
        outputs = session(x=X)
        assert list(outputs) == ["y"]
        np.testing.assert_array_equal(outputs["y"], 2 * X)
        assert str(session.inputs[0]) == "float32[N, 3]"
        assert session.target == "onnx"
    with pytest.raises(ValueError, match="session is closed"):
        session(x=X)


def test_views_and_read_only_arrays_are_taken(tmp_path: Path) -> None:
    session = Session(handmade.write(tmp_path))
    view = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::2]
    np.testing.assert_array_equal(session(x=view)["y"], 2 * view)
    frozen = X.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(session(x=frozen)["y"], 2 * X)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"xx": X}, "`xx` is not an input; the inputs are x: float32[N, 3]; did you mean `x`?"),
    ({}, "nothing was given for `x`; the inputs are x: float32[N, 3]"),
    ({"x": X.astype(np.float64)}, "`x` is float64, wanted float32[N, 3]; convert it with .astype('float32')"),
    ({"x": X.astype(">f4")}, "`x` is >f4, wanted float32[N, 3]"),
    ({"x": [[1, 2, 3]]}, "`x` is int64, wanted float32[N, 3]"),
    ({"x": [object()]}, "`x` is object, wanted float32[N, 3]"),
    ({"x": X[0]}, "`x` has shape [3] with 1 axes, wanted 2: float32[N, 3]"),
    ({"x": X[:, :2]}, "`x` has shape [2, 2], wanted float32[N, 3]: axis 1 is 2, must be 3"),
    ({"x": np.zeros((9, 3), np.float32)}, "`x` has shape [9, 3], wanted float32[N, 3]: axis 0 is 9, and N must be 1 to 8"),
    ({"x": np.zeros((0, 3), np.float32)}, "axis 0 is 0, and N must be 1 to 8"),
]


@pytest.mark.parametrize(("inputs", "expected"), BAD, ids=[expected[:40] for _, expected in BAD])
def test_wrong_inputs_are_named(tmp_path: Path, inputs: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        Session(handmade.write(tmp_path)).run(inputs)
    assert expected in str(caught.value)


def two_inputs(folder: Path, **changes: Any) -> Session:
    """y = Gather(table of 4, ids) + tail's first column; tail: float32[N, 2 * T]."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Slice", ["tail", "zero", "one", "axis"], ["first"]),
        helper.make_node("Add", ["rows", "first"], ["y"]),
    ]
    constants = {
        "table": np.arange(4, dtype=np.float32),
        "zero": np.array([0]),
        "one": np.array([1]),
        "axis": np.array([1]),
    }
    data = handmade.model(nodes, {"ids": ("int64", ["N", "T"]), "tail": ("float32", ["N", "U"])}, {"y": ("float32", ["N", "T"])}, constants)
    inputs = [
        {"name": "ids", "dtype": "int64", "shape": ["N", "T"], "below": 4},
        {"name": "tail", "dtype": "float32", "shape": ["N", "2 * T"]},
    ]
    dims = {"N": {"min": 1, "opt": 1, "max": 8}, "T": {"min": 4, "opt": 4, "max": 64, "multiple_of": 4}}
    outputs = [{"name": "y", "dtype": "float32", "shape": ["N", "T"]}]
    return Session(handmade.write(folder, {"model.onnx": data}, inputs=inputs, outputs=outputs, dims=dims, **changes))


def test_dims_agree_between_inputs(tmp_path: Path) -> None:
    session = two_inputs(tmp_path)
    ids, tail = np.array([[0, 1, 2, 3]]), np.full((1, 8), 10, np.float32)
    np.testing.assert_array_equal(session(ids=ids, tail=tail)["y"], [[10, 11, 12, 13]])
    with pytest.raises(InputError, match="axis 0 is 2, but N is 1 in `ids`"):
        session(ids=ids, tail=np.zeros((2, 8), np.float32))
    with pytest.raises(InputError, match="axis 1 is 7, must be 8"):
        session(ids=ids, tail=tail[:, :7])
    with pytest.raises(InputError, match="axis 1 is 6, and T must be 4 to 64, a multiple of 4"):
        session(ids=np.zeros((1, 6), np.int64), tail=tail)
    with pytest.raises(InputError, match="`ids` holds values from 0 to 4, and must hold 0 to 3"):
        session(ids=np.array([[0, 1, 2, 4]]), tail=tail)


def test_every_wrong_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        two_inputs(tmp_path)(ids=np.zeros((1, 5), np.int64), tail=np.zeros(3, np.float64), last=0)
    unknown, ids, tail = str(caught.value).splitlines()
    assert unknown == "`last` is not an input; the inputs are ids: int64[N, T], tail: float32[N, 2 * T]"
    assert "axis 1 is 5, and T must be 4 to 64" in ids
    assert tail.startswith("`tail` is float64, wanted float32[N, 2 * T]")


def test_the_targets_own_file_is_preferred(tmp_path: Path) -> None:
    three = handmade.model(
        [helper.make_node("Mul", ["x", "c"], ["y"])], {"x": ("float32", ["N", 3])}, {"y": ("float32", ["N", 3])}, {"c": np.float32([3])}
    )
    targets = {"onnx": {"file": "model.onnx", "opset": 21}, "onnxruntime": {"file": "model.ort.onnx", "opset": 21}}
    folder = handmade.write(tmp_path, {"model.onnx": handmade.scale(), "model.ort.onnx": three}, targets=targets)
    for backend, factor in (("auto", 3), ("onnxruntime", 3), ("onnx", 2)):
        np.testing.assert_array_equal(Session(folder, backend)(x=X)["y"], factor * X)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["torch", "tensorrt"])
def test_a_target_that_was_not_built(tmp_path: Path, backend: Any) -> None:
    with pytest.raises(
        BundleError, match=f"the bundle holds onnx, nothing for the backend {backend}; compile the spec with --target {backend}"
    ):
        Session(handmade.write(tmp_path), backend)


def test_an_unknown_backend_and_provider(tmp_path: Path) -> None:
    folder = handmade.write(tmp_path)
    with pytest.raises(ValueError, match="`onxx` is not a backend; choose one of auto, onnxruntime"):
        Session(folder, "onxx")  # type: ignore[arg-type]
    with pytest.raises(BackendMissing, match=r"onnxruntime has no `CPUExecutionProvide` here.*did you mean `CPUExecutionProvider`"):
        Session(folder, providers=["CPUExecutionProvide"])


def test_a_changed_byte_is_refused_by_default(tmp_path: Path) -> None:
    folder = handmade.write(tmp_path)
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data.replace(b"test", b"tent"))
    with pytest.raises(BundleError, match="does not have the SHA-256"):
        Session(folder)
    np.testing.assert_array_equal(Session(folder, verify=False)(x=X)["y"], 2 * X)


def test_a_changed_byte_beside_what_is_parsed_is_refused(tmp_path: Path) -> None:
    """Weights are hashed while the backend opens; what they hash to counts, whether it opens or not."""
    for broken in (handmade.scale(), b"not a model"):
        folder = handmade.write(tmp_path, {"model.onnx": broken, "weights.bin": b"numbers"})
        (folder / "weights.bin").write_bytes(b"numbres")
        with pytest.raises(BundleError, match=r"weights\.bin does not have the SHA-256"):
            Session(folder)


def test_a_broken_file_is_explained_by_its_hash(tmp_path: Path) -> None:
    folder = handmade.write(tmp_path)
    (folder / "model.onnx").write_bytes(bytes((folder / "model.onnx").stat().st_size))
    with pytest.raises(BundleError, match="does not have the SHA-256"):
        Session(folder)


@pytest.mark.parametrize(
    "data", [b"not a model", b"", handmade.scale().replace(b"Add", b"\xb0dd")], ids=["text", "empty", "bytes that are no text"]
)
def test_a_file_that_onnxruntime_refuses(tmp_path: Path, data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BundleError, match=r"onnxruntime .* refuses .*model\.onnx"):
        Session(handmade.write(tmp_path, {"model.onnx": data}))
    assert capfd.readouterr() == ("", "")


def test_names_that_the_manifest_does_not_declare(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has the outputs \['y'\] where the manifest declares \['z'\]"):
        Session(handmade.write(tmp_path, outputs=[{"name": "z", "dtype": "float32", "shape": []}]))


def test_weights_outside_the_bundle_are_not_read(tmp_path: Path) -> None:
    outside = np.arange(3, dtype=np.float32)
    (tmp_path / "secret.bin").write_bytes(outside.tobytes())
    proto = onnx.load_from_string(
        handmade.model(
            [helper.make_node("Add", ["x", "c"], ["y"])], {"x": ("float32", ["N", 3])}, {"y": ("float32", ["N", 3])}, {"c": outside}
        )
    )
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    with pytest.raises(BundleError, match="refuses"):
        Session(handmade.write(tmp_path / "bundle", {"model.onnx": proto.SerializeToString()}))


def test_bfloat16(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Add", ["wide", "wide"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["y"], to=onnx.TensorProto.BFLOAT16),
    ]
    data = handmade.model(nodes, {"x": ("bfloat16", ["N", 3])}, {"y": ("bfloat16", ["N", 3])})
    tensor = {"dtype": "bfloat16", "shape": ["N", 3]}
    session = Session(handmade.write(tmp_path, {"model.onnx": data}, inputs=[{"name": "x"} | tensor], outputs=[{"name": "y"} | tensor]))
    y = session(x=X.astype(ml_dtypes.bfloat16))["y"]
    assert y.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(y.astype(np.float32), 2 * X)


def test_importing_the_runtime_loads_no_framework() -> None:
    heavy = ("torch", "onnx", "onnxruntime", "onnx_ir", "lamina.compiler", "PIL", "tokenizers", "tensorrt_rtx", "ml_dtypes")
    modules = ["", ".run", ".bench", ".ort", ".trt", ".torch", ".pt2"]
    imports = ", ".join(f"lamina.runtime{module}" for module in modules)
    code = f"import sys, {imports}; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert result.stdout.strip() == "[]"
