"""The authors' RevCol. Needs timm, and `--source`, a checkout of github.com/megvii-research/RevCol."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import torch
from authors import imported
from fill import Draw, Scale
from making import Tensors, write

sys.modules.setdefault("imp", ModuleType("imp"))  # imported there for nothing; newer Pythons lack it
theirs = imported("models.revcol", __doc__)
SCALES = (Scale("*.alpha?", 0, 1),)
NEVER = ("subnet0.alpha?",)  # times the zero that is before the first column


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["image"])[0][-1]}


def case(variant: str, model: torch.nn.Module, sizes: list[tuple[int, int]], *, small: bool) -> None:
    write(
        "vision/revcol", f"{variant}-small" if small else variant, model, [{"image": Draw((n, 3, *s))} for n, s in enumerate(sizes, 1)],
        run, reference="the authors' code", variant=variant, small=small, sweep=not small, scales=SCALES, unused=NEVER,
        macs_at=dict(zip("NHW", (1, *sizes[0]), strict=True)),
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    how = {"save_memory": False, "inter_supv": False}
    model = theirs.FullNet([8, 16, 24, 32], [1, 1, 2, 1], 3, num_classes=10, **how)
    case("tiny", model, [(64, 64), (96, 64), (32, 160)], small=True)
    for variant in ("tiny", "small", "base", "large"):
        case(variant, getattr(theirs, f"revcol_{variant}")(**how), [(224, 224), (160, 224)], small=False)
