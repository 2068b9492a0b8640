"""Write what diffusers' FLUX computes at small sizes, and with a LoRA of PEFT's. Run by hand:

pip install torch transformers diffusers peft && python tests/references/make_flux.py
"""

from __future__ import annotations

import shutil
from typing import Any

import diffusers
import numpy as np
import torch
from cases import EXPECTED, Reference, references
from diffusers import FluxPipeline, FluxTransformer2DModel
from diffusers.training_utils import _collate_lora_metadata
from fill import Draw, Scale, uniform
from making import Tensors, write
from peft import LoraConfig, get_peft_model_state_dict

SPEC, REFERENCE = "generative/flux", f"diffusers {diffusers.__version__}"
ADAPTERS = EXPECTED / "flux_adapters"
TOLERANCE = 5e-5  # they round frequencies to float32 before they multiply them by a thousand times the time
SIZES: dict[str, Any] = {
    "in_channels": 8, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
    "joint_attention_dim": 12, "pooled_projection_dim": 10, "axes_dims_rope": (4, 6, 6),
}  # fmt: skip


def run(model: Any, inputs: Tensors) -> Tensors:
    """Packed and numbered as their pipeline does."""
    latent = inputs["latent"]
    n, channels, rows, columns = latent.shape[0], latent.shape[1], latent.shape[2] // 2, latent.shape[3] // 2
    packed = latent.view(n, channels, rows, 2, columns, 2).permute(0, 2, 4, 1, 3, 5).reshape(n, rows * columns, 4 * channels)
    ids = torch.zeros(rows, columns, 3)
    ids[..., 1] += torch.arange(rows)[:, None]
    ids[..., 2] += torch.arange(columns)
    made = model(
        hidden_states=packed, encoder_hidden_states=inputs["text"], pooled_projections=inputs["pooled"], timestep=inputs["time"],
        img_ids=ids.reshape(-1, 3), txt_ids=torch.zeros(inputs["text"].shape[1], 3), guidance=inputs.get("guidance"), return_dict=False,
    )[0]  # fmt: skip
    return {"velocity": made.view(n, rows, columns, channels, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(latent.shape)}


def points(guided: bool) -> list[dict[str, Draw]]:
    """A square canvas, and a wide one, such as holds panels side by side."""
    made = []
    for n, rows, columns, words in [(2, 4, 4, 5), (1, 4, 12, 3)]:
        point = {"latent": Draw((n, 2, rows, columns)), "text": Draw((n, words, 12)), "pooled": Draw((n, 10)), "time": Draw((n,), low=0)}
        made.append(point | ({"guidance": Draw((n,), low=1, high=5)} if guided else {}))
    return made


def made(guided: bool) -> Any:
    """A small model; theirs has 256 frequencies whatever its size."""
    model = FluxTransformer2DModel(**SIZES, guidance_embeds=guided)
    for part in [model.time_text_embed.timestep_embedder, getattr(model.time_text_embed, "guidance_embedder", None)]:
        if part is not None:
            part.linear_1 = torch.nn.Linear(16, 32)
    model.time_text_embed.time_proj.num_channels = 16
    return model


def linears(model: Any) -> list[str]:
    """What their trainers adapt: all linears of all blocks."""
    return [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear) and "transformer_blocks." in name]


def adapted() -> Any:
    model = made(guided=True)
    model.add_adapter(LoraConfig(r=3, lora_alpha=6, target_modules=linears(model)))
    model.requires_grad_(True)
    return model


def write_adapters(case: Reference) -> None:
    """Two adapters, as diffusers saves them, and what it computes with each over the weights and inputs of `case`.

    One is of attention alone, and its file says nothing of itself, as the authors' do not; the other is of all that they adapt.
    """
    shutil.rmtree(ADAPTERS, ignore_errors=True)
    found = {}
    options: dict[str, dict[str, Any]] = {
        "couple": {"r": 2, "lora_alpha": 2, "target_modules": ["to_q", "to_v", "add_k_proj"]},
        "story": {
            "r": 3,
            "lora_alpha": 6,
            "target_modules": linears(made(guided=True)),
            "alpha_pattern": {"transformer_blocks.0.attn.to_q": 2},
        },
    }
    for name, given in options.items():
        model = made(guided=True).eval()
        model.load_state_dict({key: torch.from_numpy(value) for key, value in case.checkpoint().items()})
        model.add_adapter(LoraConfig(**given))
        layers = {
            key: torch.from_numpy(0.3 * uniform(f"{name}.{key}", tuple(v.shape))) for key, v in get_peft_model_state_dict(model).items()
        }
        said = _collate_lora_metadata({"transformer": model}) if name == "story" else {}
        FluxPipeline.save_lora_weights(ADAPTERS / name, layers, **said)
        model.delete_adapters(["default"])
        model.load_lora_adapter(ADAPTERS / name, use_safetensors=True)
        for number, point in enumerate(case.inputs()):
            with torch.no_grad():
                found[f"{name}.{number}"] = run(model, {k: torch.from_numpy(v) for k, v in point.items()})["velocity"].numpy()
    np.savez_compressed(ADAPTERS / "velocities.npz", **found)


def run_inpainting(model: Any, inputs: Tensors) -> Tensors:
    """Where it is not free, the model sees what is given with noise, and what it makes is the way from one to the other."""
    time, free = inputs["time"][:, None, None, None], inputs["free"]
    seen = torch.lerp(time * inputs["noise"] + (1 - time) * inputs["given"], inputs["latent"], free)
    return {"velocity": torch.lerp(inputs["noise"] - inputs["given"], run(model, {**inputs, "latent": seen})["velocity"], free)}


def inpainting(point: dict[str, Draw]) -> dict[str, Draw]:
    shape = point["latent"].shape
    return point | {"given": Draw(shape), "noise": Draw(shape), "free": Draw((shape[0], 1, *shape[2:]), low=0)}


if __name__ == "__main__":
    for variant, guided in {"dev": True, "schnell": False}.items():
        write(SPEC, variant, made(guided), points(guided), run, reference=REFERENCE, variant=variant, small=True, tolerance=TOLERANCE)
    write_adapters(next(case for case in references() if str(case) == "flux-dev"))
    common: dict[str, Any] = {
        "reference": f"{REFERENCE} and peft",
        "small": True,
        "tolerance": TOLERANCE,
        "scales": [Scale("*lora_?.*", 0, 0.3)],
    }
    write("adapter/ic_lora", "dev", adapted(), points(guided=True), run, variant="dev", **common)
    masked = [inpainting(point) for point in points(guided=True)]
    write("adapter/ic_lora", "dev-inpaint", adapted(), masked, run_inpainting, variant="dev-inpaint", **common)
