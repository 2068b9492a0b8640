"""The tokenizer that a bundle carries: prompts as tokens, and tokens as text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, final

from lamina.runtime.errors import InputError
from lamina.runtime.manifest import Manifest
from lamina.runtime.text import padding_of, read_tokenizer

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


@final
class Vocabulary:
    """A `tokenizers.Tokenizer`, which neither cuts nor pads; `padding` is how it would: `pad_id`, and where it says, `direction`."""

    def __init__(self, tokenizer: Any) -> None:
        tokenizer.no_truncation()
        self.padding = padding_of(tokenizer)
        self._tokenizer = tokenizer
        self._special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}

    @classmethod
    def of(cls, folder: Path, manifest: Manifest) -> Vocabulary | None:
        """The bundle's, if it carries one. BundleError if it is no tokenizer."""
        if manifest.tokenizer is None:
            return None
        return _read(folder / manifest.tokenizer.file, manifest.files[manifest.tokenizer.file].sha256)

    def encode(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        """The tokens of each text; with what the tokenizer adds to every text, unless `special` is False."""
        try:
            return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=special)]
        except Exception as error:  # the library raises bare Exception
            raise InputError(f"the tokenizer refuses the prompts: {error}") from error

    def text(self, ids: Sequence[int]) -> str:
        """What tokens say. Special tokens say nothing; bytes that are no UTF-8 are U+FFFD."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def is_silent(self, token: int) -> bool:
        """Whether a token says nothing: a special one, or none at all."""
        return token in self._special or self._tokenizer.id_to_token(token) is None

    def is_byte(self, token: int) -> bool:
        """Whether a token stands for one byte (`<0x0A>`): what it says depends on the bytes beside it, up to the next that does not."""
        return _BYTE.fullmatch(self._tokenizer.id_to_token(token) or "") is not None

    def special(self, text: str) -> int | None:
        """The special token that is written so."""
        token: int | None = self._tokenizer.token_to_id(text)
        return token if token in self._special else None

    def first(self) -> str:
        """How the token that begins every text is written; empty if none does."""
        begun = self.encode([""])[0]
        return str(self._tokenizer.id_to_token(begun[0])) if begun else ""

    def written(self, token: int) -> str:
        """How a token is written; empty if there is none."""
        return self._tokenizer.id_to_token(token) or ""


@lru_cache(maxsize=4)
def _read(path: Path, sha256: str) -> Vocabulary:
    """Kept, since a large file takes as long to read as many tokens to generate; the hash tells another file of that name."""
    return Vocabulary(read_tokenizer(path))
