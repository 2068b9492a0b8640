"""torch.compile."""

from __future__ import annotations

from typing import final

from benchmarks.suite.peer import Array, Job, Peer, Run


@final
class Compiled(Peer):
    name = "torch.compile"

    def prepare(self, job: Job) -> None:
        """It compiles as it is first called."""

    def load(self, job: Job) -> Run:
        import torch

        from benchmarks.suite.torch_network import given, network

        torch.set_num_threads(job.threads)
        made, inputs = torch.compile(network(job.model)), given(job.model, job.inputs)

        @torch.no_grad()
        def run() -> Array:
            found: Array = made(*inputs).numpy()
            return found

        return run
