"""Answers to requests for inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic_core import to_json

from lamina.runtime.dtypes import Array
from lamina.runtime.serve.datatypes import DATATYPES
from lamina.runtime.serve.read_infer import Asked
from lamina.runtime.serve.refused import Refused

LENGTH = "Inference-Header-Content-Length"


def write_infer(name: str, version: str, asked: Asked, outputs: Mapping[str, Array]) -> tuple[bytes, dict[str, str]]:
    """The body and its headers: JSON, with the tensors that were wanted as bytes behind it. Refused (422): JSON cannot hold a value."""
    tensors = [_tensor(output, outputs[output], output in asked.binary) for output in asked.outputs]
    answer: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": tensors}
    if asked.id is not None:
        answer["id"] = asked.id
    head = to_json(answer)  # floats take a tenth of what they take in `json`
    if not asked.binary:
        return head, {"Content-Type": "application/json"}
    parts = [outputs[output].tobytes() for output in asked.outputs if output in asked.binary]
    return b"".join([head, *parts]), {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}


def _tensor(name: str, array: Array, binary: bool) -> dict[str, Any]:
    tensor: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": DATATYPES[array.dtype.name]}
    if binary:
        return tensor | {"parameters": {"binary_data_size": array.nbytes}}
    if array.dtype.kind not in "biu":
        array = array.astype(np.float64)  # exact, and what JSON holds
        if not np.isfinite(array).all():
            raise Refused(422, f"the output `{name}` holds values that are not finite, which JSON cannot hold; ask for it as bytes")
    return tensor | {"data": array.ravel().tolist()}
