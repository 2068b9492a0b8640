"""lamina generate"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lamina.cli._options import Adapter, Backend, Bundle, Json
from lamina.cli._options import adapter as chosen

if TYPE_CHECKING:
    from lamina.runtime import Generated, Session
    from lamina.runtime.generation.texts import Piece


def command(
    bundle: Bundle,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", "-p", help="A text to go on with (repeatable).")] = None,
    file: Annotated[Path | None, typer.Option(help="A text file with a prompt on each line.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="The most tokens of a text; 128 unless given.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Draw tokens, the more freely the higher; 0 takes the likeliest.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw among the K likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw among the likeliest tokens that have probability P together.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Draw among tokens at least P times as likely as the likeliest.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1, make tokens of prompt and text less likely.")] = None,
    beams: Annotated[int | None, typer.Option(help="Beam search with as many beams.")] = None,
    beam_groups: Annotated[int | None, typer.Option(help="Diverse beam search: groups that the beams are shared among.")] = None,
    diversity: Annotated[float | None, typer.Option(help="What a token costs a group for each group before that chose it.")] = None,
    num_return: Annotated[int | None, typer.Option(help="Texts for each prompt: samples, or the best beams.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="A string that ends a text, and is cut off (repeatable).")] = None,
    seed: Annotated[int | None, typer.Option(help="For the same draws each time.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="The bundle that reads the prompts, of a decoder that attends to them.")] = None,
    start: Annotated[list[int] | None, typer.Option(help="A token to start from, unless the encoder's bundle says (repeatable).")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Prompts are messages to the model, by the bundle's chat template.")] = False,
    adapter: Adapter = None,
    backend: Backend = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of the backend.", min=1)] = None,
    json: Json = False,
) -> None:
    """Generate text from a bundle of a language model.

    Texts come as they are made, one prompt's after another's. How long it took is said on stderr.
    """
    given = {
        "max_new_tokens": max_new_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "beams": beams, "beam_groups": beam_groups, "diversity": diversity,
        "num_return": num_return, "stop": stop or None, "seed": seed, "start": start or None,
    }  # fmt: skip
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    prompts = _prompts(prompt or [], file)
    from lamina.runtime import Session, generate_stream
    from lamina.runtime.generation.generate import whole

    with ExitStack() as opened:
        session = opened.enter_context(Session(bundle, backend=backend, threads=threads))
        session.set_adapter(chosen(adapter or []))
        source = None if encoder is None else opened.enter_context(Session(encoder, backend=backend, threads=threads))
        pieces = generate_stream(session, _messages(source or session, prompts) if chat else prompts, source, **options)
        found = whole(pieces if json else _shown(pieces, len(prompts) * (num_return or 1) > 1))
    if json:
        _print_json(found)
    print(_summary(found), file=sys.stderr)


def _prompts(given: list[str], file: Path | None) -> list[str]:
    from lamina.runtime.text import read_lines

    prompts = given + ([] if file is None else read_lines(file))
    if not prompts:
        raise typer.BadParameter("there is nothing to go on with: give --prompt TEXT, or --file PATH with a prompt on each line")
    return prompts


def _messages(session: Session, prompts: list[str]) -> list[list[int]]:
    from lamina.runtime.generation.chat import chat_prompts

    return chat_prompts(session, [[{"role": "user", "content": text}] for text in prompts])


def _shown(pieces: Iterable[Piece], headed: bool) -> Iterator[Piece]:
    """The pieces, printed as they come: of the first text that has not ended, then of the next."""
    waiting: dict[tuple[int, int], str] = {}
    ended: set[tuple[int, int]] = set()
    for piece in pieces:
        key = (piece.prompt, piece.sample)
        fresh = key not in waiting
        waiting[key] = (f"[{piece.prompt}.{piece.sample}] " if headed and fresh else waiting.get(key, "")) + piece.text
        ended |= {key} if piece.whole is not None else set()
        for first in list(waiting):
            _show(waiting[first] + "\n" * (first in ended))
            waiting[first] = ""
            if first not in ended:
                break
            del waiting[first]
        yield piece


def _show(text: str) -> None:
    # What a model says may be anything, a terminal's commands among it.
    sys.stdout.write("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def _print_json(found: list[Generated]) -> None:
    import json
    from dataclasses import asdict

    print(json.dumps([asdict(one) for one in found], indent=1))


def _summary(found: list[Generated]) -> str:
    tokens, seconds = sum(len(one.ids) for one in found), max(one.seconds for one in found)
    first = min(one.first_seconds for one in found)
    return f"{tokens} tokens in {seconds:.2f} s: {tokens / seconds:.1f} tokens/s, the first after {first:.2f} s"
