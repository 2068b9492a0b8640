"""Transformers' LLaVA of a config of ours, and a prompt with images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import transformers
from causal_lm import Array, filled, tokens
from test_llama import KEYS

TOWER = {
    "image_size": "image_size", "patch": "patch_size", "tower_dim": "hidden_size", "tower_heads": "num_attention_heads",
    "tower_hidden": "intermediate_size", "tower_eps": "layer_norm_eps",
}  # fmt: skip


def sized(config: Mapping[str, Any]) -> Any:
    """The config of transformers' model, whose tower has a layer more than it reads."""
    rope = {"rope_type": "default", "rope_theta": config["rope_base"]}
    text = transformers.LlamaConfig(**{theirs: config[ours] for ours, theirs in KEYS.items()}, rope_parameters=rope)
    tower = {theirs: config[ours] for ours, theirs in TOWER.items()} | {"num_hidden_layers": config["tower_layers"] + 1}
    options = {"image_token_index": config["image_token"], "vision_feature_select_strategy": config["select"]}
    return transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**tower), text_config=text, tie_word_embeddings=False,
        attn_implementation="eager", **options,
    )  # fmt: skip


def reference(config: Mapping[str, Any]) -> Any:
    return filled(transformers.LlavaForConditionalGeneration(sized(config)))


def prompt(config: Mapping[str, Any], rows: int) -> dict[str, Array]:
    """Three texts, of which the first has no image, the second one and the last, which is not padded, two; an image has so many rows."""
    ids = tokens(3, 3 * rows, config["image_token"])
    ids[1, -rows - 2 : -2] = ids[2, 1 : rows + 1] = ids[2, 2 * rows - 1 : 3 * rows - 1] = config["image_token"]
    mask = (np.arange(3 * rows) >= np.array([[4], [rows - 3], [0]])).astype(np.int64)
    size = config["image_size"]
    images = np.random.default_rng(1).standard_normal((3, 3, size, size)).astype(np.float32)
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": images}
