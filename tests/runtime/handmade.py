"""Bundles made by hand, so that the runtime is tested without the compiler."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

ELEMENT = {
    "float64": TensorProto.DOUBLE,
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "int16": TensorProto.INT16,
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}


def model(nodes: list[onnx.NodeProto], inputs: dict[str, Any], outputs: dict[str, Any], constants: dict[str, Any] | None = None) -> bytes:
    """An ONNX file. Inputs and outputs are `name: (dtype, shape)`; constants are `name: array`."""
    infos = [
        [helper.make_tensor_value_info(name, ELEMENT[dtype], shape) for name, (dtype, shape) in group.items()]
        for group in (inputs, outputs)
    ]
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "test", *infos, initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def scale() -> bytes:
    """y = 2 x, x: float32[N, 3]."""
    node = helper.make_node("Add", ["x", "x"], ["y"])
    return model([node], {"x": ("float32", ["N", 3])}, {"y": ("float32", ["N", 3])})


def describe(files: Mapping[str, bytes], /, **changes: Any) -> dict[str, Any]:
    """A manifest for `scale`, changed by keyword."""
    return {
        "lamina": 1,
        "model": "scale",
        "version": "0.1.0",
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["N", 3]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["N", 3]}],
        "dims": {"N": {"min": 1, "opt": 2, "max": 8, "multiple_of": 1}},
        "weights": {"source": "seed:0"},
        "targets": {"onnx": {"file": "model.onnx", "opset": 21}},
        "files": {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()},
    } | changes


def write(folder: Path, data: Mapping[str, bytes] | None = None, /, **changes: Any) -> Path:
    """A bundle folder with these files and a manifest that records them truly, unless `changes` says otherwise."""
    contents = {"model.onnx": scale()} if data is None else data
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps(describe(contents, **changes)), encoding="utf-8")
    return folder
