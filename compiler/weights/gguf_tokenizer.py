"""The tokenizer that a GGUF file's metadata describe, as a file of the `tokenizers` library: byte-level BPE.

What cuts a text into words before the merges is named in the metadata (`tokenizer.ggml.pre`); the expressions are those of the models'
own tokenizers, as `llama-vocab.cpp` of llama.cpp lists them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamina.compiler.weights.gguf_header import Header, bad, read_header
from lamina.compiler.weights.metadata import shown
from lamina.schema.diagnostics import Fault, Span

Json = dict[str, Any]
_CONTROL, _USER_DEFINED = 3, 4  # kinds of tokens that no merge makes: found in the text as they stand
_PREFIX = "tokenizer.ggml."
_BYTES: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True, slots=True)
class Words:
    """How a kind of tokenizer cuts a text into words: steps before bytes become letters, and whether GPT-2's own expression follows."""

    before: tuple[Json, ...] = ()
    gpt2: bool = True
    normalizer: Json | None = None
    whole_words: bool = False  # a word that is a token is taken without merging


def _split(expression: str) -> Json:
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


_GPT2 = Words()
_LLAMA = Words((_split(_LLAMA3),), gpt2=False, whole_words=True)
KINDS = {
    "gpt-2": _GPT2,
    "smollm": Words(({"type": "Digits", "individual_digits": True},)),
    "llama-bpe": _LLAMA,
    "llama3": _LLAMA,
    "qwen2": Words((_split(_LLAMA3.replace("{1,3}", "")),), gpt2=False, normalizer={"type": "NFC"}),
}


def gguf_tokenizer(path: Path) -> bytes | None:
    """A `tokenizer.json` of what the file holds; None where it holds no tokenizer. Raises Fault where it is of another kind or damaged."""
    header = read_header(path)
    model = header.metadata.get(_PREFIX + "model")
    if model is None:
        return None
    if model != "gpt2":
        raise _unknown(path, f"a tokenizer of the kind `{shown(model)}`", "only byte-level BPE, `gpt2`, is")
    kind = header.metadata.get(_PREFIX + "pre")
    words = KINDS.get(kind) if isinstance(kind, str) else None
    if words is None:
        given = f"`{shown(kind)}`" if kind is not None else "no `tokenizer.ggml.pre`"
        raise _unknown(path, f"a tokenizer that cuts words as {given}", f"the kinds are {', '.join(KINDS)}")
    return json.dumps(_tokenizer(header, words), ensure_ascii=False).encode()


def _unknown(path: Path, what: str, known: str) -> Fault:
    hint = "put the model's own tokenizer.json beside the checkpoint"
    return Fault("tokenizer", f"the checkpoint holds {what}, which is not read ({known})", Span(str(path), 1, 1), hint)


def _tokenizer(header: Header, words: Words) -> Json:
    tokens, kinds = _vocabulary(header)
    vocab = dict(zip(tokens, range(len(tokens)), strict=True))
    if len(vocab) < len(tokens):
        raise bad(header.path, "its tokenizer has a token twice")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(i, tokens[i], kind) for i, kind in enumerate(kinds) if kind in (_CONTROL, _USER_DEFINED)],
        "normalizer": words.normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*words.before, {**_BYTES, "use_regex": words.gpt2}]},
        "post_processor": _around(header, tokens),
        "decoder": {**_BYTES, "use_regex": True},
        "model": _bpe(header, words, vocab),
    }


def _vocabulary(header: Header) -> tuple[list[str], Sequence[int]]:
    """The tokens in order, and what each is. Raises Fault."""
    tokens = [token for token in header.items(_PREFIX + "tokens") or () if isinstance(token, str)]
    if not tokens:
        raise bad(header.path, "its tokenizer has no tokens")
    given = header.items(_PREFIX + "token_type")
    kinds = [kind for kind in given or () if isinstance(kind, int)]
    if given is not None and len(kinds) != len(tokens):
        raise bad(header.path, f"its tokenizer has {len(tokens):,} tokens and {len(kinds):,} kinds of them")
    return tokens, kinds


def _added(index: int, token: str, kind: int) -> Json:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": token, **flags, "special": kind == _CONTROL}


def _bpe(header: Header, words: Words, vocab: dict[str, int]) -> Json:
    pairs = [str(merge).split(" ") for merge in header.items(_PREFIX + "merges") or ()]
    for pair in pairs:
        if len(pair) != 2 or not {pair[0], pair[1], "".join(pair)} <= vocab.keys():
            raise bad(header.path, f"its tokenizer merges `{shown(' '.join(pair))}`, which are not two tokens that make a third")
    unused = dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"))
    flags = {"fuse_unk": False, "byte_fallback": False, "ignore_merges": words.whole_words}
    return {"type": "BPE", **unused, **flags, "vocab": vocab, "merges": pairs}


def _around(header: Header, tokens: list[str]) -> Json | None:
    """What is put before and after a text: the tokens that the model was trained to see there, where the metadata ask for them."""
    first, last = _asked(header, "bos", tokens), _asked(header, "eos", tokens)
    if first is None and last is None:
        return None
    text: Json = {"Sequence": {"id": "A", "type_id": 0}}
    single = [_special(first, tokens), text, _special(last, tokens)]
    found = [i for i in (first, last) if i is not None]
    return {
        "type": "TemplateProcessing",
        "single": [part for part in single if part is not None],
        "pair": [*(part for part in single if part is not None), {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {tokens[i]: {"id": tokens[i], "ids": [i], "tokens": [tokens[i]]} for i in found},
    }


def _special(index: int | None, tokens: list[str]) -> Json | None:
    return None if index is None else {"SpecialToken": {"id": tokens[index], "type_id": 0}}


def _asked(header: Header, which: str, tokens: list[str]) -> int | None:
    """The id of the token to add, or None. Raises Fault where it is none of the vocabulary's."""
    if header.metadata.get(f"{_PREFIX}add_{which}_token") is not True:
        return None
    found = header.metadata.get(f"{_PREFIX}{which}_token_id")
    if type(found) is not int or not 0 <= found < len(tokens):
        raise bad(header.path, f"its tokenizer adds the token {shown(found)} to a text, which is none of its {len(tokens):,}")
    return found
