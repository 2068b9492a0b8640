"""What a checkpoint says of the texts that it was trained on: which tokens start and end one, and how messages become a prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lamina.compiler.weights.files import weights_file
from lamina.compiler.weights.gguf_header import read_header

_LARGEST = 4 << 20  # bytes of a file beside the weights
_LONGEST = 2**17  # characters of a template
_START, _EOS = "decoder_start_token_id", "eos_token_id"


def prompting(checkpoint: Path | None) -> dict[str, Any]:
    """`eos` and `chat_template`, where a GGUF file or the files beside other weights say them; `start` where those files do."""
    if checkpoint is None:
        return {}
    file = weights_file(checkpoint)
    if file.suffix == ".gguf":
        return _of_gguf(file)
    configs = [_json(file.parent / name) for name in ("generation_config.json", "config.json")]
    start, ends = (next((config[key] for config in configs if config.get(key) is not None), ()) for key in (_START, _EOS))
    return {"eos": _tokens(ends), "start": _tokens([start]), "chat_template": _template(next(_templates(file.parent), None))}


def _of_gguf(file: Path) -> dict[str, Any]:
    metadata = read_header(file).metadata
    ends = [metadata[key] for key in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id") if key in metadata]
    return {"eos": _tokens(ends), "chat_template": _template(metadata.get("tokenizer.chat_template"))}


def _templates(folder: Path) -> Iterator[Any]:
    """The template in a file of its own, else in the tokenizer's config, where several have names."""
    path = folder / "chat_template.jinja"
    if path.is_file() and path.stat().st_size <= _LARGEST:
        yield path.read_text(encoding="utf-8", errors="replace")
    found = _json(folder / "tokenizer_config.json").get("chat_template")
    named = [entry for entry in found if isinstance(entry, dict) and entry.get("name") == "default"] if isinstance(found, list) else []
    yield from (entry.get("template") for entry in named)
    yield found


def _json(path: Path) -> dict[str, Any]:
    """An object; an empty one where the file is not there, or is none."""
    if not path.is_file() or path.stat().st_size > _LARGEST:
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _tokens(found: Any) -> tuple[int, ...]:
    listed = found if isinstance(found, list | tuple) else [found]
    return tuple(dict.fromkeys(token for token in listed if type(token) is int and 0 <= token < 2**31))


def _template(found: Any) -> str | None:
    return found if isinstance(found, str) and 0 < len(found) <= _LONGEST else None
