"""config.pbtxt: what Triton is told of a model, from its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lamina.export.pbtxt import Word
from lamina.runtime import shapes
from lamina.runtime.manifest import Manifest, Tensor
from lamina.runtime.samples import chosen_dims
from lamina.schema.dims import FLOATS

QUEUE_DELAY = 500  # microseconds that a request may wait for others
_DTYPES = {
    "float64": "TYPE_FP64", "float32": "TYPE_FP32", "float16": "TYPE_FP16", "bfloat16": "TYPE_BF16", "int64": "TYPE_INT64",
    "int32": "TYPE_INT32", "int16": "TYPE_INT16", "int8": "TYPE_INT8", "uint8": "TYPE_UINT8", "bool": "TYPE_BOOL",
}  # fmt: skip


def config(manifest: Manifest, name: str, plans: Mapping[str, str] | None) -> dict[str, Any]:
    """The fields of Triton's ModelConfig. Requests are batched where one dim leads every input and output, and is nowhere else.

    `plans` are the engines' files by compute capability, beside the default one; None for ONNX Runtime.
    """
    batch, engine = batch_dim(manifest), plans is not None
    runs: dict[str, Any] = {"backend": "onnxruntime"}
    if plans is not None:
        runs = {"platform": "tensorrt_plan", "cc_model_filenames": [{"key": key, "value": file} for key, file in plans.items()]}
    return {
        "name": name,
        **runs,
        "max_batch_size": 0 if batch is None else manifest.dims[batch].max,
        "input": [_tensor(tensor, batch) for tensor in manifest.inputs],
        "output": [_tensor(tensor, batch) for tensor in manifest.outputs],
        "dynamic_batching": None if batch is None else _batching(manifest.dims[batch].opt),
        "instance_group": {"kind": Word("KIND_GPU" if engine else "KIND_AUTO"), "count": 1},
        "model_warmup": _warmup(manifest, batch),
    }


def batch_dim(manifest: Manifest) -> str | None:
    """The dim by which Triton may join requests: any number of rows from one on."""
    tensors = (*manifest.inputs, *manifest.outputs)
    leading = {tensor.shape[0] if tensor.shape else None for tensor in tensors}
    (dim, *others) = leading
    if others or not isinstance(dim, str) or dim not in manifest.dims or manifest.states:
        return None
    extent = manifest.dims[dim]
    elsewhere = [size for tensor in tensors for size in tensor.shape[1:]] + [other.at_most or 0 for other in manifest.dims.values()]
    free = extent.min <= 1 and extent.multiple_of == 1 and extent.at_most is None
    return dim if free and not any(dim in shapes.names(size) for size in elsewhere) else None


def _batching(opt: int) -> dict[str, Any]:
    return {"preferred_batch_size": [opt] if opt > 1 else None, "max_queue_delay_microseconds": QUEUE_DELAY}


def _tensor(tensor: Tensor, batch: str | None) -> dict[str, Any]:
    sizes = [size if isinstance(size, int) else -1 for size in tensor.shape[batch is not None :]]
    return {"name": tensor.name, "data_type": Word(_DTYPES[tensor.dtype]), **_dims(sizes)}


def _dims(sizes: list[int]) -> dict[str, Any]:
    """Triton has no tensor without dims: a client gives one more, of size 1, which is taken away."""
    return {"dims": sizes} if sizes else {"dims": [1], "reshape": {"shape": []}}


def _warmup(manifest: Manifest, batch: str | None) -> dict[str, Any]:
    """One call at the sizes that the model is tuned for, so that the first request need not wait for it."""
    sizes = chosen_dims(manifest, {})
    size = 0 if batch is None else sizes[batch]
    return {"name": "typical", "batch_size": size, "inputs": list(_warm_inputs(manifest, batch, sizes))}


def _warm_inputs(manifest: Manifest, batch: str | None, sizes: dict[str, int]) -> Iterator[dict[str, Any]]:
    for tensor in manifest.inputs:
        dims = [shapes.evaluate(size, sizes) for size in tensor.shape[batch is not None :]] or [1]
        data = "random_data" if tensor.dtype in FLOATS else "zero_data"  # any integer may index something; 0 does no harm
        yield {"key": tensor.name, "value": {"data_type": Word(_DTYPES[tensor.dtype]), "dims": dims, data: True}}
