"""Networks for images whose arithmetic is dense, from timm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.suite.model import Model, Network

if TYPE_CHECKING:
    from torch import Tensor, nn


def _timm(name: str) -> Network:
    def build() -> nn.Module:
        import timm

        found: nn.Module = timm.create_model(name, pretrained=False)
        return found

    return Network(build, _call)


def _call(network: nn.Module, image: Tensor) -> Tensor:
    found: Tensor = network(image)
    return found


def _square(spec: str, variant: str, timm: str, size: int = 224) -> Model:
    return Model(f"vision/{spec}", variant, _timm(timm), {"H": size, "W": size})


MODELS = (
    _square("poolformer", "s12", "poolformer_s12"),
    _square("metaformer", "caformer_s18", "caformer_s18"),
    Model("vision/vit", "tiny", _timm("vit_tiny_patch16_224")),
    Model("vision/vit", "small", _timm("vit_small_patch16_224")),
    Model("vision/mixer", "s16", _timm("mixer_s16_224")),
    Model("vision/mixer", "b16", _timm("mixer_b16_224")),
    _square("convnext", "tiny", "convnext_tiny"),
    _square("resnet", "r18", "resnet18"),
    _square("resnet", "r50", "resnet50"),
    _square("resnet_rs", "50", "resnetrs50"),
    _square("swin", "tiny", "swin_tiny_patch4_window7_224"),
    _square("vovnet", "39", "vovnet39a"),
    _square("inception_v4", "v4", "inception_v4"),
)
