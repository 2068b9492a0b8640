"""torch.onnx.export's file, in ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any, final

from benchmarks.suite.peer import Job, Peer, Run


def export(job: Job, path: Path) -> None:
    """With a dynamic batch, or where PyTorch cannot have one, with this one's sizes."""
    import torch

    from benchmarks.suite.torch_network import given, network

    made, inputs = network(job.model), given(job.model, job.inputs)
    options: dict[str, Any] = {"dynamo": True, "verbose": False, "external_data": True}
    sizes = [{i: torch.export.Dim.DYNAMIC for i in range(x.ndim) if i == 0} for x in inputs]
    with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        try:
            torch.onnx.export(made, inputs, path, dynamic_shapes=(tuple(sizes),), **options)
        except Exception:
            torch.onnx.export(made, inputs, path, **options)


@final
class Exported(Peer):
    name = "torch.onnx"

    def prepare(self, job: Job) -> None:
        export(job, job.folder / "model.onnx")

    def load(self, job: Job) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = job.threads, 3
        session = onnxruntime.InferenceSession(job.folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        feeds = dict(zip((i.name for i in session.get_inputs()), job.inputs.values(), strict=False))
        return lambda: session.run(None, feeds)[0]
