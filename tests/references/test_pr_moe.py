"""PR-MoE: what balance adds to the loss, and a student that learns from its teacher."""

from __future__ import annotations

from pathlib import Path

import torch
from causal_lm import in_training
from torch.nn import functional as F

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "language" / "pr_moe.yaml"


def test_a_gate_that_knows_no_difference() -> None:
    """All tokens go to the first expert, and the probabilities are even: the loss is its factor, of each layer with experts."""
    spec = lamina.load(SPEC, small=True, balance_factor=0.5)
    module, ids = lamina.to_torch(spec), torch.arange(22).reshape(2, 11)
    for name, weight in module.named_parameters():
        if name.endswith("gate.weight"):
            torch.nn.init.zeros_(weight)
    torch.testing.assert_close(in_training(spec, ids, module=module)[1]["balance"].item(), 2 * 0.5, rtol=1e-5, atol=0)


def test_a_student_learns_from_its_teacher() -> None:
    """One step along the divergence of its logits from the teacher's lowers that: the first stage of the paper's distilling."""
    ids = torch.arange(60).reshape(4, 15)
    teacher = in_training(lamina.load(SPEC, small=True, every=True), ids)[1]["logits"].detach()
    student = lamina.load(SPEC, small=True, variant="350m-mos", layers=3, every=True)
    module, found = in_training(student, ids)

    def divergence(logits: torch.Tensor) -> torch.Tensor:
        return F.kl_div(logits.log_softmax(-1), teacher.softmax(-1), reduction="batchmean")

    before = divergence(found["logits"])
    before.backward()
    torch.optim.SGD(module.parameters(), lr=1e-3).step()
    assert divergence(in_training(student, ids, module=module)[1]["logits"]) < before
