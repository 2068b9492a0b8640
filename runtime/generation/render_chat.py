"""Renders chat templates, in a process of its own: JSON on stdin, JSON on stdout. Imports nothing of Lamina.

The template may be hostile. It sees the sandbox of jinja2, what transformers gives a template, and no more time and memory than below.
"""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import datetime
from typing import Any, NoReturn

_CPU_SECONDS, _BYTES, _CHARACTERS = 10, 2**30, 2**22


class Refused(Exception):
    """What a template raises of itself."""


def _raise_exception(message: str) -> NoReturn:
    raise Refused(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _bound() -> None:
    with contextlib.suppress(ImportError):  # Windows: only the parent's clock bounds it
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))


def _texts(given: dict[str, Any]) -> list[str]:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    template = environment.from_string(given["template"])
    texts = [template.render(messages=one, add_generation_prompt=True, **given["tokens"]) for one in given["conversations"]]
    if sum(map(len, texts)) > _CHARACTERS:
        raise ValueError(f"it writes over {_CHARACTERS} characters")
    return texts


def _answer(given: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"texts": _texts(given)}
    except ImportError as error:
        return {"missing": str(error)}
    except Refused as error:
        return {"refused": str(error)}
    except Exception as error:  # a hostile template raises nearly anything
        return {"error": f"{type(error).__name__}: {error}"[:1000]}


if __name__ == "__main__":
    _bound()
    sys.stdout.write(json.dumps(_answer(json.loads(sys.stdin.read()))))
