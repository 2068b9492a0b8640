"""Write what timm's models compute with the weights and inputs of `fill`. Run by hand (see README.md); tests read what it wrote.

For each model: `expected/NAME.npz` has the logits for each input, keyed by its shape as text (`3x3x160x224`), and `expected/NAME.json` the
versions, the number of parameters, multiply-adds for one image, and the name and shape of every entry of the checkpoint.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import timm
import torch
from fill import fill, image
from torch.utils.flop_counter import FlopCounterMode

FIXED = ((1, 3, 224, 224), (3, 3, 224, 224))
ANY = ((1, 3, 224, 224), (3, 3, 160, 224))
MODELS = {
    **{f"poolformer_{variant}": ANY for variant in ("s12", "s24", "s36", "m36", "m48")},
    **{f"vit_{variant}_patch16_224": FIXED for variant in ("tiny", "small", "base")},
    **{f"mixer_{variant}_224": FIXED for variant in ("s16", "b16")},
    **dict.fromkeys(("convnext_tiny", "resnet18", "resnet50"), ANY),
}
# Without effect by the nature of the network: pool(x + c) - (x + c) is pool(x) - x; a layer norm takes out what a token's channels share.
INERT = {"poolformer": "norm1.bias", "mixer": "mlp_tokens.fc2.bias"}
OUT = Path(__file__).parent / "expected"


def filled(name: str) -> torch.nn.Module:
    """timm's model in eval mode, every entry of its checkpoint filled."""
    model: torch.nn.Module = timm.create_model(name, pretrained=False).eval()
    state = {key: torch.from_numpy(fill(key, tuple(value.shape))) for key, value in model.state_dict().items()}
    model.load_state_dict(state, strict=True)
    return model


def macs(model: torch.nn.Module) -> int:
    """Multiply-adds for one 224x224 image: convolutions, linear layers and attention's two products; nothing elementwise, no pooling."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.from_numpy(image((1, 3, 224, 224))))
    return int(counter.get_total_flops()) // 2


def check_sensitive(name: str, model: torch.nn.Module, shape: tuple[int, int, int, int]) -> None:
    """Raise unless the logits are sane, differ from image to image, and depend on every parameter by 1e-3 of their size at least."""
    logits = model(torch.from_numpy(image(shape)))
    probe = logits * torch.from_numpy(fill("probe.bias", tuple(logits.shape)))
    total = probe.detach().norm()  # random signs: this is what independent changes of the logits would sum to
    inert = INERT.get(name.split("_")[0], "-")
    weights = {k: p for k, p in model.named_parameters() if not k.endswith(inert)}
    gradients = torch.autograd.grad(probe.sum(), list(weights.values()))
    effects = {k: float((g * p.detach()).abs().sum() / total) for (k, p), g in zip(weights.items(), gradients, strict=True)}
    weakest = min(effects, key=effects.__getitem__)
    out = logits.detach()
    largest, spread, between = float(out.abs().max()), float(out.std()), float(out.std(dim=0).mean())
    print(
        f"{name}: largest {largest:.3g}, std {spread:.3g}, between images {between:.3g}; least effect {effects[weakest]:.2g}, of {weakest}"
    )
    if not (math.isfinite(largest) and spread > 0.1 and between > 0.01 and effects[weakest] > 1e-3):
        raise SystemExit(f"{name}: the logits do not depend enough on the inputs and weights")


def write(name: str, shapes: tuple[tuple[int, int, int, int], ...]) -> None:
    """Compute and store one model's outputs and facts."""
    model = filled(name)
    with torch.no_grad():
        logits = {"x".join(map(str, shape)): model(torch.from_numpy(image(shape))).numpy() for shape in shapes}
    facts = {
        "timm": timm.__version__,
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "macs": macs(model),
        "state": {key: list(value.shape) for key, value in model.state_dict().items()},
    }
    check_sensitive(name, model, shapes[1])
    np.savez_compressed(OUT / f"{name}.npz", **logits)
    (OUT / f"{name}.json").write_text(json.dumps(facts, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    timm.layers.set_fused_attn(False)  # so that the counter sees attention's products
    OUT.mkdir(exist_ok=True)
    for name, shapes in MODELS.items():
        write(name, shapes)
