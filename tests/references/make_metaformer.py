"""The authors' Identity-, Rand-, Conv- and CAFormer and second PoolFormer.

Needs timm, and `--source`, a checkout of github.com/sail-sg/metaformer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from authors import imported
from fill import Draw, Scale
from making import Tensors, write

theirs = imported("metaformer_baselines", __doc__)
WHOLE = {
    **dict.fromkeys(("identityformer", "randformer", "poolformerv2"), ("s12", "s24", "s36", "m36", "m48")),
    **dict.fromkeys(("convformer", "caformer"), ("s18", "s36", "m36", "b36")),
}
NONE, CONV, ATTEND = torch.nn.Identity, theirs.SepConv, partial(theirs.Attention, head_dim=8)
RANDOM = [NONE, NONE, theirs.RandomMixing, partial(theirs.RandomMixing, num_tokens=49)]
PLAIN = {"norm_layers": partial(theirs.LayerNormGeneral, normalized_dim=(1, 2, 3), eps=1e-6, bias=False)}
SMALL = {
    "identityformer_s12": {"token_mixers": NONE, **PLAIN},
    "randformer_s12": {"token_mixers": RANDOM, **PLAIN},
    "poolformerv2_s12": {"token_mixers": theirs.Pooling, **PLAIN},
    "convformer_s18": {"token_mixers": CONV, "head_fn": theirs.MlpHead},
    "caformer_s18": {"token_mixers": [CONV, CONV, ATTEND, ATTEND], "head_fn": theirs.MlpHead},
}
SCALES = (
    Scale("*.res_scale?.scale", 1, 0.25),
    Scale("*.act*.scale", 1, 0.25),
    Scale("*.act*.bias", -1, 0.25),
    Scale("*.random_matrix", 1, 0.5),  # `run` makes the sum of each row one, as it is of a softmax
)


def run(model: Any, inputs: Tensors) -> Tensors:
    with torch.no_grad():
        for matrix in (p for key, p in model.named_parameters() if key.endswith("random_matrix")):
            matrix /= matrix.sum(dim=1, keepdim=True)
    return {"logits": model(inputs["image"])}


def case(variant: str, model: torch.nn.Module, sizes: list[tuple[int, int]], *, small: bool) -> None:
    """Random sums are of one size. A pool's differences of neighbours enlarge what ONNX Runtime's norms of 200,000 numbers lose."""
    if not small:
        sizes = {"randformer": [(224, 224)] * 2, "poolformerv2": [(96, 96), (64, 96)]}.get(variant.split("_")[0], sizes)
    elif variant.startswith("rand"):
        sizes = [(224, 224)] * 2
    write(
        "vision/metaformer", f"{variant}-small" if small else variant, model, [{"image": Draw((n, 3, *s))} for n, s in enumerate(sizes, 1)],
        run, reference="the authors' code", variant=variant, small=small, sweep=not small, scales=SCALES, unused=["*.random_matrix"],
        macs_at=dict(zip("NHW", (1, *sizes[0]), strict=True)),
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    for variant, options in SMALL.items():
        model = theirs.MetaFormer(depths=[1, 1, 2, 1], dims=[8, 16, 24, 32], num_classes=10, **options)
        case(variant, model, [(64, 64), (96, 64), (33, 159)], small=True)
    for variant in (f"{family}_{size}" for family, sizes in WHOLE.items() for size in sizes):
        case(variant, getattr(theirs, variant)(), [(224, 224), (160, 224)], small=False)
