"""What timm's models compute. Run by hand where timm is installed (`pip install timm`), for all specs or those that are named:

python tests/references/make_timm.py [vision/resnet ...]
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import timm
import torch
from fill import Draw, Scale
from making import Tensors, write
from timm.layers import EvoNorm2dS0
from timm.models.metaformer import GroupNorm1, MetaFormer
from timm.models.mlp_mixer import MlpMixer
from timm.models.nasnet import NASNetALarge


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


def short_inception_v4() -> torch.nn.Module:
    """One cell of each kind, which timm has no option for."""
    model = timm.create_model("inception_v4", num_classes=10)
    model.features = torch.nn.Sequential(*(model.features[i] for i in (0, 1, 2, 3, 4, 5, 6, 10, 11, 18, 19)))
    return model


def short_inception_resnet_v2() -> torch.nn.Module:
    """One cell of each kind, and the last."""
    model = timm.create_model("inception_resnet_v2", num_classes=10)
    model.repeat, model.repeat_1, model.repeat_2 = model.repeat[:1], model.repeat_1[:1], model.repeat_2[:1]
    return model


def printed_inception_resnet_v2(depths: Sequence[int] = (5, 10, 5), classes: int = 1000) -> torch.nn.Module:
    """timm's cells as often as the paper prints them, behind the stem of its Inception-v4, which leaves 64 more channels, and no tail."""
    model = timm.create_model("inception_resnet_v2")
    wider = {320: 384, 1088: 1152, 2080: 2144}
    parts = {
        "stem": timm.create_model("inception_v4").features[:6],
        "repeat": model.repeat[: depths[0]],
        "mixed_6a": model.mixed_6a,
        "repeat_1": model.repeat_1[: depths[1]],
        "mixed_7a": model.mixed_7a,
        "repeat_2": model.repeat_2[: depths[2]],
        "pool": model.global_pool,
        "classif": torch.nn.Linear(2144, classes),
    }
    for name, part in parts.items():
        for key, conv in list(part.named_modules()):
            if isinstance(conv, torch.nn.Conv2d) and name != "stem":
                inner = wider.get(conv.in_channels, conv.in_channels)
                out = wider.get(conv.out_channels, conv.out_channels) if key.endswith("conv2d") else conv.out_channels
                wide = torch.nn.Conv2d(inner, out, conv.kernel_size, conv.stride, conv.padding, bias=conv.bias is not None)
                parent, _, last = key.rpartition(".")
                setattr(part.get_submodule(parent), last, wide)
    return torch.nn.Sequential(OrderedDict(parts))


class NasnetMobile(NASNetALarge):
    """timm's cells as the paper's small network has them: four to a stage, and after a reduction its own two last cells are read."""

    def __init__(self, **options: int) -> None:
        super().__init__(**options)
        for i in (4, 5, 10, 11, 16, 17):
            delattr(self, f"cell_{i}")

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        start = self.conv0(x)
        before = self.cell_stem_0(start)
        x = self.cell_stem_1(start, before)
        for name in (*self._cells(0), "reduction_cell_0", *self._cells(6), "reduction_cell_1", *self._cells(12)):
            before, x = x, getattr(self, name)(x, before)
        return self.act(x)

    @staticmethod
    def _cells(first: int) -> list[str]:
        return [f"cell_{i}" for i in range(first, first + 4)]


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
    "stem_chs": [8, 8, 8], "stage_conv_chs": [8] * 4, "stage_out_chs": [16] * 4, "layer_per_block": 2,
    "block_per_stage": [1, 1, 2, 1],
}  # fmt: skip
EITHER = (Scale("*.running_var", 0.5, 0.2), Scale("*.v", 2.0, 0.5))  # so that now the batch's deviation is the larger, now the image's
ODD = {"sizes": ((64, 64), (71, 85))}
LIVELY = (Scale("*.bn.weight", 1.5, 0.3), Scale("*.bn.bias", 0.0, 0.4))  # what the activations take away
INCEPTION = {"sizes": ((299, 299), (203, 236)), "scales": LIVELY}
SHORT = {"sizes": ((107, 107), (120, 107))}
CALM = (Scale("*.bn3.weight", 0.3, 0.1),)  # else 139 units in a row make of a rounding error what they make of a signal
RS = {"layers": [1, 2, 1, 1], "channels": [8, 16, 32, 64], "stem_width": 4}
SWIN = {"img_size": 64, "window_size": 2, "embed_dim": 8, "depths": [2, 1, 2, 1], "num_heads": [1, 2, 2, 4], "dynamic_img_size": True}
SHAPES = {"features": True, "sizes": ((64, 64), (128, 192))}
LIVELY_BN = (Scale("*bn*.weight", 1.2, 0.25), Scale("*bn*.bias", 0.0, 1.5))

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
    *(
        Model("vision/resnet_rs", str(n), f"resnetrs{n}", sizes=((size, size), (96, 121)), scales=CALM if n == 420 else ())
        for n, size in ((50, 160), (101, 192), (152, 256), (200, 256), (270, 256), (350, 288), (420, 160))
    ),
    small("vision/resnet_rs", "50", "resnetrs50", RS, sizes=((64, 64), (71, 90))),
    Model("vision/nasnet", "large", "nasnetalarge", sizes=((331, 331), (96, 121)), scales=LIVELY_BN),
    *(
        Model(
            "vision/nasnet",
            variant,
            build,
            {"num_features": 192, "stem_size": 8, "num_classes": 10},
            config={"filters": 8, "stem": 8, "classes": 10} | config,
            name=name,
            sizes=((64, 64), (83, 90)),
            scales=LIVELY_BN,
        )
        for variant, build, name, config in (
            ("large", "nasnetalarge", "narrow", {}),
            ("mobile", NasnetMobile, "mobile-cells", {"count_pads": True}),
        )
    ),
    Model("vision/inception_v4", "v4", "inception_v4", **INCEPTION),
    Model("vision/inception_resnet_v2", "v2", "inception_resnet_v2", **INCEPTION),
    Model("vision/inception_resnet_v2", "paper", printed_inception_resnet_v2, **INCEPTION),
    Model(
        "vision/inception_resnet_v2",
        "paper",
        printed_inception_resnet_v2,
        {"depths": (1, 1, 1), "classes": 10},
        config={"depths": [1, 1, 1], "classes": 10},
        name="paper-short",
        scales=LIVELY,
        **SHORT,
    ),
    *(
        Model(f"vision/inception_{name}", name[-2:], build, config={"depths": depths, "classes": 10}, name="short", scales=LIVELY, **SHORT)
        for name, build, depths in (("v4", short_inception_v4, [1, 1, 1]), ("resnet_v2", short_inception_resnet_v2, [1, 1, 2]))
    ),
    *(
        Model("vision/swin", v, f"swin_{v}_patch4_window7_224", {"dynamic_img_size": True}, sizes=((224, 224), (224, 448)))
        for v in ("tiny", "small", "base", "large")
    ),
    *(Model("vision/swin", f"{v}_384", f"swin_{v}_patch4_window12_384", sizes=((384, 384),) * 2) for v in ("base", "large")),
    small("vision/swin", "tiny", "swin_tiny_patch4_window7_224", SWIN, config={"features": True}, **SHAPES),
    Model("vision/vovnet", "27-slim", "vovnet39a", SLIM),
    *(Model("vision/vovnet", n, f"vovnet{n}a") for n in ("39", "57")),
    *(
        small(
            "vision/vovnet",
            "39",
            "vovnet39a",
            OSA | options,
            config=config,
            name=name,
            features="norm" not in config,
            scales=EITHER if "norm" in config else (),
            **ODD,
        )
        for name, options, config in (
            ("39-small", {}, {}),
            ("shortcut", {"residual": True}, {"shortcut": True}),
            ("evonorm_b0", {"norm_layer": "evonormb0"}, {"norm": "evonorm_b0", "act": "identity"}),
            ("evonorm_s0", {"norm_layer": partial(EvoNorm2dS0, groups=8)}, {"norm": "evonorm_s0(groups=8)", "act": "identity"}),
        )
    ),
)


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["image"])}


def run_with_features(model: Any, inputs: Tensors) -> Tensors:
    last, features = model.forward_intermediates(inputs["image"])
    return {"logits": model.forward_head(last), **{f"c{i}": f for i, f in enumerate(features[-4:], 2)}}


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
