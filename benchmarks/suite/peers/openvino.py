"""OpenVINO, of torch.onnx.export's file, in single precision."""

from __future__ import annotations

from typing import Any, final

from benchmarks.suite.peer import Array, Job, Peer, Run
from benchmarks.suite.peers.exported import export


@final
class OpenVino(Peer):
    name = "openvino"

    def prepare(self, job: Job) -> None:
        import openvino

        export(job, job.folder / "model.onnx")
        openvino.save_model(openvino.convert_model(job.folder / "model.onnx"), job.folder / "model.xml", compress_to_fp16=False)
        for left in job.folder.glob("model.onnx*"):
            left.unlink()

    def load(self, job: Job) -> Run:
        import openvino

        core = openvino.Core()
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": job.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = core.compile_model(core.read_model(job.folder / "model.xml"), "CPU", settings)
        request = compiled.create_infer_request()
        feeds = list(job.inputs.values())[: len(compiled.inputs)]

        def run() -> Array:
            found: Array = request.infer(feeds)[0]
            return found

        return run
