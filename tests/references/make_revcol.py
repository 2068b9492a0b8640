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
huge = imported("models.revcol_huge", __doc__)
SCALES = (Scale("*.alpha?", 0, 1),)
NEVER = ("subnet0.alpha?",)  # times the zero that is before the first column


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["image"])[0][-1]}


def case(name: str, variant: str, model: torch.nn.Module, sizes: list[tuple[int, int]], config: Any = None, *, small: bool) -> None:
    write(
        "vision/revcol", name, model, [{"image": Draw((n, 3, *s))} for n, s in enumerate(sizes, 1)], run, reference="the authors' code",
        variant=variant, small=small, config=config, sweep=not small and config is None, scales=SCALES, unused=NEVER,
        macs_at=dict(zip("NHW", (1, *sizes[0]), strict=True)),
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    how = {"save_memory": False, "inter_supv": False}
    layers, sizes = [1, 1, 2, 1], [(64, 64), (96, 64), (32, 160)]
    for name, build in (("tiny", theirs.FullNet), ("huge", huge.RevColHuge)):
        case(f"{name}-small", name, build([8, 16, 24, 32], layers, 3, num_classes=10, **how), sizes, small=True)
    for name, build in (("xlarge", theirs.FullNet), ("huge", huge.RevColHuge)):  # with all their blocks: whole, they are 3 and 9 GB
        narrow = [16, 32, 64, 128]
        model = build(narrow.copy(), [1, 2, 6, 2], 8, num_classes=10, **how)
        case(f"{name}-narrow", name, model, sizes[:2], {"widths": narrow, "classes": 10}, small=False)
    for variant in ("tiny", "small", "base", "large"):
        case(variant, variant, getattr(theirs, f"revcol_{variant}")(**how), [(224, 224), (160, 224)], small=False)
