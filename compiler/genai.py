"""genai_config.json: how onnxruntime-genai drives the standard file of a decoder, so that the bundle's folder is a model of its own too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lamina.compiler.elaborate import Elaborated
from lamina.compiler.graph import Graph, Value
from lamina.schema.dims import Dim, Symbol
from lamina.schema.spec import ModelSpec

CONFIG, TOKENIZER_CONFIG = "genai_config.json", "tokenizer_config.json"
_GREEDY = {
    "do_sample": False, "num_beams": 1, "num_return_sequences": 1, "top_k": 1, "top_p": 1.0, "temperature": 1.0, "repetition_penalty": 1.0,
    "length_penalty": 1.0, "diversity_penalty": 0.0, "no_repeat_ngram_size": 0, "early_stopping": True, "min_length": 0,
    "past_present_share_buffer": False,
}  # fmt: skip


def genai_files(spec: ModelSpec, model: Elaborated, file: str, tokenizer: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The files by name, for the ONNX file of a decoder whose states are one cache of keys and values a layer; none for other models."""
    graph, ids = model.graph, spec.tokenizer
    caches = _caches(graph)
    own = [value.name for value in graph.inputs if value.name not in {state.past for state in graph.states}]
    if ids is None or tokenizer is None or caches is None or not tokenizer.get("eos") or own != [ids.ids, ids.mask]:
        return {}
    layers, (keys, values), cache = caches
    logits = graph.outputs[0]
    grown = next(symbol for size in cache.shape if isinstance(size, Dim) and (symbol := _alone(size)) and symbol.name in _grown(graph))
    past, present = ({"key": f"{part}.{keys}", "value": f"{part}.{values}"} for part in ("past", "present"))
    decoder: dict[str, Any] = {
        "filename": file,
        "session_options": {"provider_options": []},
        "head_size": cache.shape[-1],
        "num_key_value_heads": cache.shape[1],
        "num_hidden_layers": layers,
        "inputs": {"input_ids": ids.ids, "attention_mask": ids.mask} | {f"past_{part}_names": name for part, name in past.items()},
        "outputs": {"logits": logits.name} | {f"present_{part}_names": name for part, name in present.items()},
    }
    eos = list(tokenizer["eos"])
    config = {"type": "decoder", "vocab_size": logits.shape[-1], "context_length": grown.max, "eos_token_id": eos, "pad_token_id": eos[0]}
    template = {"chat_template": tokenizer["chat_template"]} if tokenizer.get("chat_template") else {}
    return {
        CONFIG: {"model": {**config, "decoder": decoder}, "search": {**_GREEDY, "max_length": grown.max}},
        TOKENIZER_CONFIG: {"tokenizer_class": "PreTrainedTokenizerFast", **template},
    }


def _caches(graph: Graph) -> tuple[int, tuple[str, str], Value] | None:
    """The number of layers, the names of a layer's keys and values with %d for its number, and one of them; None for other states."""
    numbered: dict[str, list[int]] = {}
    for state in graph.states:
        found = re.search(r"(?<=\.)\d+(?=\.)", state.name)
        if found is None:
            return None
        numbered.setdefault(f"{state.name[: found.start()]}%d{state.name[found.end() :]}", []).append(int(found.group()))
    inputs = {value.name: value for value in graph.inputs}
    caches = [inputs[state.past] for state in graph.states]
    alike = len({value.type for value in caches}) == 1 and all(value.rank == 4 and isinstance(value.shape[1], int) for value in caches)
    if len(numbered) != 2 or not alike or any(numbers != list(range(len(numbers))) for numbers in numbered.values()):
        return None
    keys, values = numbered
    return len(numbered[keys]), (keys, values), caches[0]


def _alone(size: Dim) -> Symbol | None:
    symbol = next(iter(size.symbols))
    return symbol if size == Dim.of(symbol) else None


def _grown(graph: Graph) -> set[str]:
    """The dims along which states grow."""
    inputs, outputs = ({value.name: value for value in values} for values in (graph.inputs, graph.outputs))
    pairs = ((inputs[state.past].shape, outputs[state.present].shape) for state in graph.states)
    return {str(before) for past, present in pairs for before, after in zip(past, present, strict=True) if before != after}
