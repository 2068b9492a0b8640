"""PyTorch's network as it is."""

from __future__ import annotations

from typing import final

from benchmarks.suite.peer import Array, Job, Peer, Run


@final
class Eager(Peer):
    name = "eager"

    def prepare(self, job: Job) -> None:
        """Nothing is."""

    def load(self, job: Job) -> Run:
        import torch

        from benchmarks.suite.torch_network import given, network

        torch.set_num_threads(job.threads)
        made, inputs = network(job.model), given(job.model, job.inputs)

        @torch.inference_mode()
        def run() -> Array:
            found: Array = made(*inputs).numpy()
            return found

        return run
