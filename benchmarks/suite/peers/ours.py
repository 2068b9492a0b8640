"""Our bundle for ONNX Runtime, in our session."""

from __future__ import annotations

from typing import final

from benchmarks.suite.peer import Job, Peer, Run


@final
class Lamina(Peer):
    name = "lamina"

    def prepare(self, job: Job) -> None:
        import lamina

        weights = job.folder.parent / "checkpoint"
        lamina.compile(job.model.load(), job.folder / "bundle", ["onnxruntime"], weights=weights if weights.exists() else None)

    def load(self, job: Job) -> Run:
        from lamina.runtime import Session

        session = Session(job.folder / "bundle", threads=job.threads)
        first = session.outputs[0].name
        return lambda: session.run(job.inputs)[first]
