"""The networks that benchmarks compare: a spec of the zoo and timm's network of the same architecture, with the same weights.

timm needs an environment of its own (it brings torchvision): `pip install timm onnxscript` beside `pip install -e .`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

ZOO = Path(__file__).resolve().parent.parent / "specs"


@dataclass(frozen=True, slots=True)
class Peer:
    """One network: the spec's file, its variant, and timm's name for it."""

    spec: str
    variant: str
    timm: str

    @property
    def path(self) -> Path:
        return ZOO / f"{self.spec}.yaml"

    def network(self) -> Any:
        """timm's network with its own random weights, in eval mode. Layer scales are drawn near 1, so that every block counts."""
        import timm
        import torch

        torch.manual_seed(0)
        network = timm.create_model(self.timm, pretrained=False).eval()
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1 and ("layer_scale" in name or "gamma" in name or name.endswith("ls1") or name.endswith("ls2")):
                torch.nn.init.uniform_(parameter, 0.5, 1.0)
        return network

    def checkpoint(self, network: Any, folder: Path) -> Path:
        """The network's weights as a safetensors file."""
        from safetensors.torch import save_file

        path = folder / f"{self.timm}.safetensors"
        save_file({k: v.contiguous() for k, v in network.state_dict().items() if v.ndim or "num_batches" not in k}, path)
        return path


PEERS = (
    Peer("vision/poolformer", "s12", "poolformer_s12"),
    Peer("vision/vit", "tiny", "vit_tiny_patch16_224"),
    Peer("vision/mixer", "b16", "mixer_b16_224"),
    Peer("vision/convnext", "tiny", "convnext_tiny"),
    Peer("vision/resnet", "r50", "resnet50"),
)
