"""GGUF files of decoders with experts, written from Hugging Face's keys with the names of llama.cpp's own package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import torch

PAIRED = ("llama", "deepseek")  # architectures whose queries and keys stand in pairs, as llama.cpp's rotary embedding turns neighbours
NAMES = {name: architecture for architecture, name in gguf.MODEL_ARCH_NAMES.items()}


def write(path: Path, architecture: str, state: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> None:
    """The tensors as llama.cpp's converter leaves them: experts stacked, gates and values apart, rows in pairs where it has them so."""
    writer, names = gguf.GGUFWriter(path, architecture), gguf.get_tensor_name_map(NAMES[architecture], config["layers"])
    writer.add_block_count(config["layers"])
    writer.add_expert_count(config["experts"])
    for key, tensor in _apart(state):
        heads = {"q_proj.weight": config["heads"], "k_proj.weight": config.get("kv_heads", config["heads"])}
        count = heads.get(key.split("self_attn.")[-1]) if architecture in PAIRED else None
        paired = tensor if count is None else tensor.reshape(count, 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        assert name is not None, key
        writer.add_tensor(name if name.endswith((".weight", ".bias")) else f"{name}.weight", paired.squeeze().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _apart(state: Mapping[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    found: list[tuple[str, torch.Tensor]] = []
    for key, tensor in state.items():
        parts = tensor.chunk(2, dim=1) if "gate_up_proj" in key else (tensor,)
        kinds = ("gate", "up") if "gate_up_proj" in key else ("gate_up",)
        found += [(key.replace("gate_up", kind), part) for kind, part in zip(kinds, parts, strict=True)]
    return found
