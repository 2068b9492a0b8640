"""Texts as token arrays, by the tokenizer that a bundle carries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import BackendMissing, BundleError, InputError
from lamina.runtime.inputs import existing
from lamina.runtime.manifest import Manifest, Tokenizer

_LARGEST = 64 * 2**20


def tokenize(texts: Sequence[str], folder: Path, manifest: Manifest) -> dict[str, Array]:
    """What a `TextEncoder` of the bundle makes of these texts."""
    return TextEncoder(folder, manifest)(texts)


@final
class TextEncoder:
    """The tokenizer that a bundle carries, read once. Safe to call from several threads.

    InputError: the bundle carries none. BundleError: it is no tokenizer.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        how = manifest.tokenizer
        if how is None:
            raise InputError("the bundle carries no tokenizer; give token ids as arrays, or declare `tokenizer` in the spec")
        self._axis = _axis(how, manifest)
        self._manifest = manifest
        self._encoder = _encoder(folder / how.file, _most(how, manifest))
        self.padding = padding_of(self._encoder)
        """How texts are padded, in the words of `tokenizers`: `pad_id`, and where the tokenizer says, `pad_type_id` and `direction`."""
        columns = ((how.ids, "ids"), (how.mask, "attention_mask"), (how.types, "type_ids"))
        self.columns = {name: column for name, column in columns if name is not None}
        """What each input that is fed takes of an encoding: `ids`, `attention_mask` or `type_ids`."""

    def __call__(self, texts: Sequence[str]) -> dict[str, Array]:
        """The inputs `ids` and, where named, `mask` (1 for a token, 0 for padding) and `types`: [texts, tokens], in their declared dtypes.

        Each text is cut to `max_length` tokens (and to the dim's maximum), and padded to the longest, or to the next size that the dim
        allows. InputError for no text.
        """
        if not texts:
            raise InputError("there is no text to tokenize")
        encodings = self._encoder.encode_batch(list(texts))
        length = padded_length(max(len(encoding.ids) for encoding in encodings), self._axis, self._manifest)
        for encoding in encodings:
            encoding.pad(length, **self.padding)
        return {
            name: np.array([getattr(encoding, column) for encoding in encodings], numpy_dtype(self._manifest.input(name).dtype))
            for name, column in self.columns.items()
        }


def read_texts(given: str | Sequence[str]) -> list[str]:
    """The texts themselves; of a value that is the path of a .txt file, its lines, empty ones left out."""
    texts: list[str] = []
    for value in [given] if isinstance(given, str) else given:
        path = existing(value) if value.endswith(".txt") else None
        texts += [value] if path is None else read_lines(path)
    return texts


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, empty ones left out. InputError if it is no UTF-8 text of at most 64 MiB."""
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path} is over {_LARGEST >> 20} MiB of text")
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}") from error


def read_tokenizer(path: Path) -> Any:
    """The file as a `tokenizers.Tokenizer`. BackendMissing without that library, BundleError if it cannot read the file."""
    try:
        from tokenizers import Tokenizer as Encoder
    except ImportError as error:
        raise BackendMissing(f"tokenizers cannot be imported ({error}); pip install lamina[text]") from error
    try:
        return Encoder.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise BundleError(f"{path} is not a tokenizer: {error}; compile the spec again") from error


def _encoder(path: Path, most: int) -> Any:
    encoder = read_tokenizer(path)
    try:
        encoder.enable_truncation(most)
    except Exception as error:  # as above
        raise BundleError(f"{path} cannot cut texts to {most} tokens: {error}; compile the spec again") from error
    return encoder


def padding_of(encoder: Any) -> dict[str, Any]:
    """How to pad, as the tokenizer says; its own padding, often to a fixed length, is switched off."""
    own = encoder.padding
    encoder.no_padding()
    if own is not None:
        return {key: own[key] for key in ("direction", "pad_id", "pad_type_id", "pad_token")}
    token = next((token for token in ("[PAD]", "<pad>") if encoder.token_to_id(token) is not None), "[PAD]")
    return {"pad_id": encoder.token_to_id(token) or 0, "pad_token": token}


def _axis(how: Tokenizer, manifest: Manifest) -> int | str:
    shape = manifest.input(how.ids).shape
    if len(shape) != 2:
        raise InputError(f"`{how.ids}` is {manifest.input(how.ids)}; tokens fill [texts, tokens]")
    return shape[1]


def _most(how: Tokenizer, manifest: Manifest) -> int:
    size = _axis(how, manifest)
    return min(how.max_length, size if isinstance(size, int) else manifest.dims[size].max if size in manifest.dims else how.max_length)


def padded_length(longest: int, size: int | str, manifest: Manifest) -> int:
    """The least length that an axis of this size may have and that `longest` tokens fit in, as far as any does."""
    if isinstance(size, int):
        return size
    if size not in manifest.dims:
        return longest
    allowed = manifest.dims[size]
    return -(-max(longest, allowed.min) // allowed.multiple_of) * allowed.multiple_of
