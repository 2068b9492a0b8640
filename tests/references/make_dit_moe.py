"""The transformers and the samplers of github.com/feizc/DiT-MoE. Needs `pip install torch timm`; `--source` is a checkout of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from authors import imported
from cases import EXPECTED
from fill import Draw, Scale, fill
from making import Tensors, write

REFERENCE = "github.com/feizc/DiT-MoE"
SMALL: dict[str, Any] = {"input_size": 8, "hidden_size": 32, "depth": 2, "num_heads": 2, "num_classes": 10}
SCALES = [
    Scale("x_embedder.proj.weight", 0, 2),  # tokens so unlike each other that every expert is chosen
    Scale("*.moe.gate.weight", 0, 0.9),
    Scale("*.experts.*.down_proj.weight", 0, 0.4),
    Scale("*.adaLN_modulation.1.weight", 0, 0.1),  # and shifts so small
    Scale("*.adaLN_modulation.1.bias", 0.3, 0.2),
]


class FlashSelfAttention(torch.nn.Module):
    """As flash_attn's: softmax attention over [N, T, 3, heads, d]."""

    def __init__(self, attention_dropout: float) -> None:
        super().__init__()

    def forward(self, qkv: torch.Tensor) -> torch.Tensor:
        q, k, v = qkv.transpose(1, 3).unbind(2)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def stand_in(name: str, **members: Any) -> None:
    sys.modules[name] = module = ModuleType(name)
    module.__dict__.update(members)


def authors() -> Any:
    """Their models, whose attention keeps its precision, and whose experts can be asked for gradients."""
    stand_in("flash_attn", __version__="2", __path__=[])
    stand_in("flash_attn.flash_attn_interface", flash_attn_kvpacked_func=None)
    stand_in("flash_attn.modules", __path__=[])
    stand_in("flash_attn.modules.mha", FlashSelfAttention=FlashSelfAttention)
    torch.Tensor.half = lambda self, *_: self  # type: ignore[method-assign]
    torch.Tensor.scatter_reduce_ = lambda self, dim, index, source, **_: self.scatter_add_(dim, index, source)  # type: ignore[method-assign]
    models = imported("models", __doc__)
    models.SparseMoeBlock.moe_infer = models.SparseMoeBlock.moe_infer.__wrapped__
    return models


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"denoised": model(inputs["latent"], inputs["time"], inputs["label"])}


def point(size: int, classes: int, count: int, latest: float) -> dict[str, Draw]:
    return {
        "latent": Draw((count, 4, size, size), low=-2, high=2),
        "time": Draw((count,), low=0, high=latest),
        "label": Draw((count,), "int64", 0, classes + 1),
    }


def write_samples(models: Any) -> None:
    """What their loops make of the noise that our sampler draws, two of the small model's samples, with guidance."""
    model = models.DiT(**SMALL).eval()
    state = {k: torch.from_numpy(fill(k, tuple(v.shape), SCALES)) for k, v in model.state_dict().items() if k != "pos_embed"}
    model.load_state_dict(state, strict=False)
    labels = torch.tensor([7, 3, 10, 10])
    found = {}
    for name, loop in {"ddpm": "p_sample_loop", "ddim": "ddim_sample_loop", "ddim_eta": "ddim_sample_loop"}.items():
        draw = streams(seed=5)
        sampler = import_module("diffusion.gaussian_diffusion")
        sampler.th.randn_like = lambda *_, draw=draw, **__: torch.cat([draw()] * 2)
        more: dict[str, Any] = {"eta": 0.6} if name == "ddim_eta" else {}
        samples = getattr(import_module("diffusion").create_diffusion("6"), loop)(
            model.forward_with_cfg, (4, 4, 8, 8), torch.cat([draw()] * 2), clip_denoised=False,
            model_kwargs={"y": labels, "cfg_scale": 1.5}, device="cpu", **more,
        )  # fmt: skip
        found[name] = samples[:2]
    walk = import_module("diffusion.rectified_flow").RectifiedFlow(model)
    found["flow"] = walk.sample(streams(seed=5)(), labels[:2], labels[2:], sample_steps=6, cfg=2.5)[-1]
    np.savez_compressed(EXPECTED / "dit_moe_samples.npz", **{name: samples.detach().numpy() for name, samples in found.items()})


def streams(seed: int) -> Callable[[], torch.Tensor]:
    """A stream of normal numbers for each sample."""
    drawn = [np.random.default_rng([seed, i]) for i in range(2)]
    return lambda: torch.from_numpy(np.stack([stream.standard_normal((4, 8, 8), np.float32) for stream in drawn]))


def main() -> None:
    models = authors()
    write_samples(models)
    for name, more in {
        "s2-8e2a": {},
        "s2-16e2a": {"num_experts": 16},
        "b2-8e2a": {},
        "xl2-8e2a": {"use_flash_attn": True},
        "g2-16e2a": {"use_flash_attn": True, "num_experts": 16},
    }.items():
        model = models.DiT(**SMALL, **more)
        write(
            "generative/dit_moe", f"{name}_small", model, [point(8, 10, 9, 1000), point(8, 10, 2, 1)], run, reference=REFERENCE,
            variant=name, small=True, scales=SCALES, own=["pos_embed"], unused=["pos_embed"],
            inert=["*.k_norm.bias"],  # adds the same to a query's every score
        )  # fmt: skip
    write(
        "generative/dit_moe", "s2-8e2a", models.DiT_S_2(), [point(32, 1000, 1, 1)], run, reference=REFERENCE,
        variant="s2-8e2a", sweep=True, tolerance=3e-5, scales=SCALES[2:],  # without choices that float32 cannot tell apart
        own=["pos_embed"], unused=["pos_embed"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
