"""Messages of the Open Inference Protocol over gRPC, as requests over REST are: one reader checks both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tritonclient.grpc import service_pb2 as messages

from lamina.runtime.dtypes import Array
from lamina.runtime.serve.datatypes import DATATYPES, TEXT
from lamina.runtime.serve.read_infer import Asked
from lamina.runtime.serve.refused import Refused

_CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    TEXT: "bytes_contents",
}


def read_request(request: Any) -> tuple[dict[str, Any], memoryview]:
    """A ModelInferRequest as JSON and the bytes behind it. Refused (400): as many raw contents as inputs, or none."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise Refused(400, f"there are {len(raw)} raw_input_contents and {len(request.inputs)} inputs")
    inputs = [_input(tensor, raw[index] if raw else None) for index, tensor in enumerate(request.inputs)]
    found: dict[str, Any] = {"inputs": inputs, "parameters": _parameters(request) | {"binary_data_output": True}}
    if request.id:
        found["id"] = request.id
    if request.outputs:
        found["outputs"] = [{"name": output.name} for output in request.outputs]
    return found, memoryview(raw[0] if len(raw) == 1 else b"".join(raw))


def _input(tensor: Any, raw: bytes | None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    if raw is not None:
        return found | {"parameters": {"binary_data_size": len(raw)}}
    if tensor.datatype not in _CONTENTS:  # FP16 and BF16 have none
        return found
    data = list(getattr(tensor.contents, _CONTENTS[tensor.datatype]))
    return found | {"data": [_text(one) for one in data] if tensor.datatype == TEXT else data}


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None  # which is no text, and refused as such


def _parameters(request: Any) -> dict[str, Any]:
    return {name: getattr(value, kind) for name, value in request.parameters.items() if (kind := value.WhichOneof("parameter_choice"))}


def write_response(name: str, version: str, asked: Asked, outputs: Mapping[str, Array]) -> Any:
    """A ModelInferResponse, its tensors as raw contents."""
    tensor = messages.ModelInferResponse.InferOutputTensor
    return messages.ModelInferResponse(
        model_name=name,
        model_version=version,
        id=asked.id or "",
        outputs=[tensor(name=one, datatype=DATATYPES[outputs[one].dtype.name], shape=outputs[one].shape) for one in asked.outputs],
        raw_output_contents=[outputs[one].tobytes() for one in asked.outputs],
    )
