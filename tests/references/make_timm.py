"""What timm's models compute. Run by hand where timm is installed (`pip install timm`), for all specs or those that are named:

python tests/references/make_timm.py [vision/resnet ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import timm
import torch
from fill import Draw, Scale
from making import Tensors, write
from timm.models.metaformer import GroupNorm1, MetaFormer
from timm.models.mlp_mixer import MlpMixer


@dataclass(frozen=True)
class Model:
    """One of timm's models (by its name, or as a function that makes it) and our spec's variant of it.

    `options` are for timm's; `small` and `config` say the same to ours.
    """

    spec: str
    variant: str
    timm: str | Callable[..., torch.nn.Module]
    options: Mapping[str, Any] = field(default_factory=dict)
    small: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    sizes: Sequence[tuple[int, int]] = ((224, 224), (160, 224))  # of the first image, and of the two of the second run
    features: bool = False  # compare the features of each stage too
    inert: Sequence[str] = ()
    scales: Sequence[Scale] = ()

    def build(self) -> torch.nn.Module:
        """timm's model, with random weights."""
        make = partial(timm.create_model, self.timm, pretrained=False) if isinstance(self.timm, str) else self.timm
        return make(**self.options)


def small(spec: str, variant: str, model: str | Callable[..., torch.nn.Module], options: Mapping[str, Any], **more: Any) -> Model:
    """The spec's `small` sizes, as timm spells them."""
    more = {"name": f"{variant}-small", "small": True, "sizes": ((64, 64), (96, 64)), **more}
    return Model(spec, variant, model, {"num_classes": 10, **options}, **more)


INERT_POOL = {"inert": ("*norm1.bias",)}  # pool(x + c) - (x + c) is pool(x) - x
INERT_TOKENS = {"inert": ("*mlp_tokens.fc2.bias",)}  # a layer norm takes out what a token's channels share
FIXED = {"sizes": ((224, 224), (224, 224))}
TINY = {"sizes": ((32, 32), (32, 32))}
STAGES = {"depths": [1, 1, 2, 1], "dims": [8, 16, 24, 32]}
POOLFORMER = partial(
    MetaFormer, downsample_norm=None, mlp_act=torch.nn.GELU, mlp_bias=True, norm_layers=GroupNorm1, layer_scale_init_values=1e-5,
    res_scale_init_values=None, use_mlp_head=False,
)  # fmt: skip
SLIM = {"stage_conv_chs": [64, 80, 96, 112], "stage_out_chs": [128, 256, 384, 512], "block_per_stage": [1, 1, 1, 1]}  # the authors'
OSA = {
    "stem_chs": [8, 8, 8], "stage_conv_chs": [4, 6, 8, 10], "stage_out_chs": [8, 12, 16, 20], "layer_per_block": 3,
    "block_per_stage": [1, 1, 2, 1],
}  # fmt: skip
ODD = {"sizes": ((64, 64), (71, 85))}

MODELS = (
    *(Model("vision/poolformer", v, f"poolformer_{v}", **INERT_POOL) for v in ("s12", "s24", "s36", "m36", "m48")),
    small("vision/poolformer", "s12", POOLFORMER, STAGES, **INERT_POOL),
    *(Model("vision/vit", v, f"vit_{v}_patch16_224", **FIXED) for v in ("tiny", "small", "base")),
    small("vision/vit", "tiny", "vit_tiny_patch16_224", {"img_size": 32, "embed_dim": 24, "depth": 2}, **TINY),
    *(Model("vision/mixer", v, f"mixer_{v}_224", **INERT_TOKENS, **FIXED) for v in ("s16", "b16")),
    small("vision/mixer", "s16", MlpMixer, {"img_size": 32, "embed_dim": 16, "num_blocks": 2}, **INERT_TOKENS, **TINY),
    Model("vision/convnext", "tiny", "convnext_tiny"),
    small("vision/convnext", "tiny", "convnext_tiny", STAGES),
    *(Model("vision/resnet", f"r{n}", f"resnet{n}") for n in (18, 50)),
    *(
        small("vision/resnet", f"r{n}", f"resnet{n}", {"layers": [1] * 4}, small=False, config={"depths": [1] * 4, "classes": 10})
        for n in (18, 50)  # timm fixes the stem's width
    ),
    Model("vision/vovnet", "27-slim", "vovnet39a", SLIM),
    *(Model("vision/vovnet", n, f"vovnet{n}a") for n in ("39", "57")),
    *(
        small("vision/vovnet", "39", "vovnet39a", OSA | options, config=config, name=name, features=True, **ODD)
        for name, options, config in (
            ("39-small", {}, {}),
            ("shortcut", {"residual": True}, {"shortcut": True}),
        )
    ),
)


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["image"])}


def run_with_features(model: Any, inputs: Tensors) -> Tensors:
    last, features = model.forward_intermediates(inputs["image"])
    return {"logits": model.forward_head(last), **{f"c{i}": f for i, f in enumerate(features[1:], 2)}}


def make(model: Model) -> None:
    """Run it and store the case."""
    first, second = model.sizes
    write(
        model.spec,
        model.name or model.variant,
        model.build(),
        [{"image": Draw((n, 3, *size))} for n, size in ((1, first), (2, second))],
        run_with_features if model.features else run,
        reference=f"timm {timm.__version__}",
        variant=model.variant,
        small=model.small,
        config=model.config,
        sweep=not model.small and not model.config,
        macs_at={"N": 1, "H": first[0], "W": first[1]},
        scales=model.scales,
        inert=model.inert,
    )


if __name__ == "__main__":
    timm.layers.set_fused_attn(False)  # so that the counter sees attention's products
    torch.set_num_threads(1)
    wanted = sys.argv[1:]
    for each in MODELS:
        if each.spec in (wanted or [each.spec]):
            make(each)
