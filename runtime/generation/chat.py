"""Messages as prompts, by the Jinja template that a bundle carries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lamina.runtime.errors import BackendMissing, BundleError, InputError
from lamina.runtime.generation.vocabulary import Vocabulary
from lamina.runtime.session import Session

Message = Mapping[str, str]
_SECONDS = 20
_RENDERER = Path(__file__).with_name("render_chat.py")


def chat_prompts(session: Session, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
    """The tokens of a prompt for each conversation: messages with `role` and `content`, and the beginning of the model's answer.

    InputError if the bundle has no chat template, or its template refuses the messages. BundleError if it cannot be rendered.
    """
    how = session.manifest.tokenizer
    vocabulary = Vocabulary.of(session.folder, session.manifest)
    if how is None or how.chat_template is None or vocabulary is None:
        raise InputError(f"{session.folder} carries no chat template; give whole prompts, without --chat")
    end = vocabulary.written(how.eos[0]) if how.eos else ""
    begin = vocabulary.first()
    tokens = {"bos_token": "" if begin == end else begin, "eos_token": end}
    return vocabulary.encode(render(how.chat_template, conversations, tokens), special=False)


def render(template: str, conversations: Sequence[Sequence[Message]], tokens: Mapping[str, str]) -> list[str]:
    """The text of each conversation. Rendered in a process of its own, bounded in time, memory and output: a template is a program."""
    given = json.dumps({"template": template, "conversations": [list(map(dict, one)) for one in conversations], "tokens": dict(tokens)})
    try:
        done = subprocess.run([sys.executable, "-P", str(_RENDERER)], input=given.encode(), capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise BundleError(f"the chat template runs for more than {_SECONDS} s") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise BundleError("the chat template takes more time or memory than it may") from None
    match answer:
        case {"texts": list(texts)}:
            return texts
        case {"missing": str(reason)}:
            raise BackendMissing(f"jinja2 cannot be imported ({reason}); pip install lamina[chat]")
        case {"refused": str(reason)}:
            raise InputError(f"the chat template refuses the messages: {reason}")
    raise BundleError(f"the chat template cannot be rendered: {answer.get('error')}")
