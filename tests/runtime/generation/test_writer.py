"""Text as tokens come: always the beginning of what `tokenizers` decodes of all of them, and stop strings wherever tokens begin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers_made import ALL, CORPUS, END, byte_fallback, byte_level, metaspace, word_piece

from lamina.runtime.generation.vocabulary import Vocabulary
from lamina.runtime.generation.writer import Stops, Writer

MADE = {make: make() for make in ALL}


def pieces(tokenizer: Tokenizer, ids: list[int], stops: tuple[str, ...] = (), stopped: bool = False) -> tuple[list[str], str]:
    vocabulary = Vocabulary(tokenizer)
    writer = Writer(Stops(vocabulary, stops))
    given = [writer.push([token]) for token in ids]
    rest, text = writer.end(stopped)
    return [*given, rest], text


@pytest.mark.parametrize("make", ALL)
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_tokens(make: Callable[[], Tokenizer], data: st.DataObject) -> None:
    """Halves of characters, spaces, special tokens in any order: what has been given is never taken back."""
    tokenizer = MADE[make]
    ids = data.draw(st.lists(st.integers(0, tokenizer.get_vocab_size() - 1), max_size=25))
    given, text = pieces(tokenizer, ids)
    assert "".join(given) == text == tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="aé日🙂 \n", max_size=12))
def test_characters_are_whole(make: Callable[[], Tokenizer], text: str) -> None:
    """A text's own tokens never give U+FFFD, which it does not hold."""
    tokenizer = MADE[make]
    given, _ = pieces(tokenizer, tokenizer.encode(text, add_special_tokens=False).ids)
    assert "".join(given) == text
    assert not any("\ufffd" in piece for piece in given)


@pytest.mark.parametrize("make", [byte_level, metaspace, word_piece])
def test_text_comes_early(make: Callable[[], Tokenizer]) -> None:
    """After each token all has been given if it is whole: a word with its token, a character with its last byte."""
    tokenizer = MADE[make]
    ids = tokenizer.encode("the cat 🙂 sat 日 on it").ids
    given, _ = pieces(tokenizer, ids)
    whole = ""
    for count in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:count])
        whole = whole if text.endswith("\ufffd") else text
        assert "".join(given[:count]) == whole
    assert given[-1] == ""


def test_special_tokens_say_nothing() -> None:
    tokenizer = MADE[byte_fallback]
    ids = [tokenizer.token_to_id(token) for token in ("<s>", "▁the", END, "▁cat")]
    assert pieces(tokenizer, ids) == (["", "the", "", " cat", ""], "the cat")


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_stop_strings(make: Callable[[], Tokenizer], data: st.DataObject) -> None:
    """The first token after which the whole text holds one ends it; what was given by then ends before it."""
    tokenizer = MADE[make]
    vocabulary = Vocabulary(tokenizer)
    text = data.draw(st.text(alphabet="ab é🙂.\n", min_size=1, max_size=14))
    stops = tuple(data.draw(st.lists(st.text(alphabet="ab é🙂.", min_size=1, max_size=4), min_size=1, max_size=3)))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    stop = Stops(vocabulary, stops)
    hits = [stop(ids[: count + 1]) for count in range(len(ids))]
    wholes = [any(s in tokenizer.decode(ids[: count + 1]) for s in stops) for count in range(len(ids))]
    first = wholes.index(True) if True in wholes else len(ids)
    assert hits[: first + 1] == wholes[: first + 1]
    given, cut = pieces(tokenizer, ids[: first + 1], stops, first < len(ids))
    whole = tokenizer.decode(ids[: first + 1])
    assert "".join(given) == cut == min((whole.split(s)[0] for s in stops), key=len)


def test_the_beginning_of_a_stop_string_is_held_back() -> None:
    vocabulary = Vocabulary(MADE[byte_level])
    stop = Stops(vocabulary, ("END", "\n\n"))
    assert [stop.sure(text) for text in ("a", "aE", "aEN", "aENE", "aEND", "a\n", "a\nb", "abEND")] == [1, 1, 1, 3, 1, 1, 3, 2]
    assert stop.cut("one\n\ntwo END") == "one"


def test_a_long_text_costs_the_same_for_each_token() -> None:
    """The window stays short, whatever came before."""
    tokenizer = MADE[byte_level]
    vocabulary = Vocabulary(tokenizer)
    read: list[int] = []
    vocabulary.text = lambda ids: read.append(len(ids)) or tokenizer.decode(list(ids))  # type: ignore[method-assign,func-returns-value]
    writer = Writer(Stops(vocabulary, ()))
    for token in tokenizer.encode(" ".join(CORPUS)).ids:
        writer.push([token])
    assert max(read) <= 12
