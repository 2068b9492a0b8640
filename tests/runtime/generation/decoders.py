"""Decoders to generate from: tiny random networks of transformers with their key-value caches, and tables without any network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from fill import fill, uniform

from lamina.runtime.dtypes import Array
from lamina.runtime.generation.generate import stream, whole
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.steps import Steps
from lamina.runtime.generation.texts import Generated

VOCABULARY, ROOM, NEW = 48, 64, 9
PROMPTS = ([5, 7, 9, 11, 13], [3, 4], [20, 21, 22])


class TorchSteps(Steps):
    """A causal language model of transformers, fed one token at a time."""

    def __init__(self, model: Any, room: int = ROOM) -> None:
        self.room, self._model = room, model
        self.rows: list[int] = []  # of each call, how many it computed

    def start(self, ids: Array, mask: Array) -> Array:
        self._cache, self._mask = transformers.DynamicCache(), torch.from_numpy(mask)
        return self._run(torch.from_numpy(ids), (self._mask.cumsum(-1) - 1).clamp(min=0))

    def step(self, ids: Array) -> Array:
        self._mask = torch.cat([self._mask, torch.ones(len(ids), 1, dtype=torch.int64)], dim=1)
        return self._run(torch.from_numpy(ids)[:, None], self._mask.sum(-1, keepdim=True) - 1)

    def reorder(self, rows: Sequence[int]) -> None:
        order = torch.tensor(list(rows))
        self._cache.reorder_cache(order)
        self._mask = self._mask[order]

    def _run(self, ids: torch.Tensor, positions: torch.Tensor) -> Array:
        self.rows.append(len(ids))
        assert self._mask.shape[1] <= self.room
        with torch.no_grad():
            done = self._model(input_ids=ids, attention_mask=self._mask, position_ids=positions, cache=self._cache, use_cache=True)
        return done.logits[:, -1].numpy()


class TableSteps(Steps):
    """Logits that follow from all the tokens read, by a function of them: a decoder that can be computed by hand."""

    def __init__(self, logits: Callable[[tuple[int, ...]], Array], room: int = ROOM) -> None:
        self.room, self._logits = room, logits
        self.read: list[tuple[int, ...]] = []

    def start(self, ids: Array, mask: Array) -> Array:
        self.read = [tuple(row[kept == 1].tolist()) for row, kept in zip(ids, mask, strict=True)]
        return self._now()

    def step(self, ids: Array) -> Array:
        self.read = [(*row, token) for row, token in zip(self.read, ids.tolist(), strict=True)]
        return self._now()

    def reorder(self, rows: Sequence[int]) -> None:
        self.read = [self.read[row] for row in rows]

    def _now(self) -> Array:
        return np.stack([self._logits(row) for row in self.read]).astype(np.float32)


def hashed(vocabulary: int, scale: float = 2.0) -> Callable[[tuple[int, ...]], Array]:
    """Logits from -scale to scale that look random and are a function of the tokens read."""
    return lambda read: scale * uniform(str(read), (vocabulary,))


def gpt2(seed: str = "") -> Any:
    """GPT-2 of two layers, whose weights follow from the seed."""
    sizes = {"vocab_size": VOCABULARY, "n_positions": ROOM, "n_embd": 16, "n_layer": 2, "n_head": 2}
    config = transformers.GPT2Config(**sizes, bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False)
    return _filled(transformers.GPT2LMHeadModel(config), seed)


def llama(seed: str = "") -> Any:
    """Llama of two layers with grouped-query attention, whose weights follow from the seed."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = transformers.LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=ROOM, **sizes, **tokens, tie_word_embeddings=False)
    return _filled(transformers.LlamaForCausalLM(config), seed)


def _filled(model: Any, seed: str) -> Any:
    """Large weights, so that what was read long ago changes what comes next, and texts do not soon repeat themselves."""
    state = {key: torch.from_numpy(fill(seed + key, tuple(value.shape))) for key, value in model.state_dict().items()}
    model.load_state_dict({key: value * 3 if value.ndim == 2 and "head" not in key else value for key, value in state.items()})
    return model.eval()


def padded(prompts: Sequence[Sequence[int]] = PROMPTS) -> tuple[Array, Array]:
    """Ids and mask for transformers: int64[N, T] both, padded on the left with 0."""
    longest = max(map(len, prompts))
    ids = np.array([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    return ids, np.array([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])


def new_tokens(found: torch.Tensor, eos: Sequence[int], beams: int, prompts: Sequence[Sequence[int]] = PROMPTS) -> list[list[list[int]]]:
    """What `generate` of transformers added to each prompt, in each of its texts: up to an end."""
    rows = []
    for row in found[:, max(map(len, prompts)) :].tolist():
        end = next((index for index, token in enumerate(row) if token in eos), len(row) - 1)
        rows.append(row[: end + 1])
    return [rows[first : first + beams] for first in range(0, len(rows), beams)]


def found(steps: Steps, prompts: Sequence[Sequence[int]] = PROMPTS, **options: Any) -> list[list[Generated]]:
    """What our search finds: for each prompt its texts, in order."""
    chosen = Generation.of({"max_new_tokens": NEW, "eos": ()} | options)
    texts: list[list[Generated]] = [[] for _ in prompts]
    for text in whole(stream(steps, None, prompts, chosen, ())):
        texts[text.prompt].append(text)
    return texts


def tokens(texts: Sequence[Sequence[Generated]]) -> list[list[list[int]]]:
    """Their tokens alone."""
    return [[list(text.ids) for text in group] for group in texts]
