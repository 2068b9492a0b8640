"""Names of dtypes in the Open Inference Protocol. BF16 is Triton's name for what the protocol lacks."""

from __future__ import annotations

from collections.abc import Mapping

TEXT = "BYTES"
DATATYPES: Mapping[str, str] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
}
