"""Documents that are run: the fenced blocks of a Markdown file, in order, in a copy of the checkout.

A block's first word says what it is, and what follows how it is run:

    yaml                      a whole spec: it checks
    yaml file=NAME            the same, written to that file first; a file of blocks is imported by a spec
    yaml section              some of a spec's sections: with the rest filled in, it checks
    yaml body                 steps: in a spec whose input is `x: float32[N, T, 64]`, they check
    python                    executed, all of a document's in one namespace; `print(x)  # 12` prints that
    python file=NAME          written
    text append=NAME          added to the end of that file
    text picture              not run
    console                   each `$ command` runs, and prints what stands below it; a line or part of `...` stands for anything
    console needs=PROGRAM     the same, where that program is installed
    js                        run in Node by tests/export/test_web_runs.py, where a package is installed for it
    sh                        commands for a reader to type: the make targets and extras in them exist
    json manifest             a bundle's manifest
    mermaid                   a flowchart: each arrow is between boxes that it has
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lamina
from lamina.runtime.manifest import Manifest

ROOT = Path(__file__).parent.parent
CHECKOUT = ("pyproject.toml", "README.md", "Makefile", "lamina", "schema", "compiler", "runtime", "specs", "tests", "docs")
COMMANDS = ("lamina", "python", "make", "echo")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```\s*$", re.MULTILINE | re.DOTALL)
_MEASURED = re.compile(r"\b\d\.\d+e-\d\d\b|^ +\d+\.\d+ ms +\d+\.\d% [ ▏▎▍▌▋▊▉█]{10}|\b\d+\.\d+ ms\b", re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """A fenced block: its line in the document, its kind, its options and its text."""

    line: int
    kind: str
    options: tuple[str, ...]
    text: str

    def option(self, name: str) -> str | None:
        """The value of `name=value`."""
        return next((o.partition("=")[2] for o in self.options if o.startswith(f"{name}=")), None)


def snippets(path: Path) -> Iterator[Snippet]:
    """The fenced blocks of a document."""
    text = path.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        kind, *options = match["info"].split() or [""]
        yield Snippet(text[: match.start()].count("\n") + 1, kind, tuple(options), textwrap.dedent(match["text"]))


@dataclass
class Run:
    """A document that is being run in a copy of the checkout."""

    document: Path
    folder: Path
    namespace: dict[str, Any] = field(default_factory=dict)
    code: int = 0
    changed: bool = False  # whether the document added to the compiler of its checkout

    def __post_init__(self) -> None:
        for name in CHECKOUT:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            elif (ROOT / name).exists():
                shutil.copy(ROOT / name, self.folder)
        commands = self.folder / ".venv-demo" / "bin"
        commands.mkdir(parents=True)
        for name, command in (("python", ""), ("lamina", "-m lamina")):
            (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n')
            (commands / name).chmod(0o755)
        (self.folder / ".venv-demo" / ".ready").touch()

    def snippet(self, snippet: Snippet) -> None:
        """Run one block. Raises AssertionError, or whatever the block raises."""
        kinds: dict[str, Callable[[Snippet], None]] = {
            "yaml": self._yaml, "python": self._python, "text": self._text, "console": self._console, "sh": _sh, "json": _json,
            "mermaid": _mermaid, "js": _js,
        }  # fmt: skip
        assert snippet.kind in kinds, f"a block of kind {snippet.kind!r} is not run by anything"
        kinds[snippet.kind](snippet)

    def _yaml(self, snippet: Snippet) -> None:
        wrap = {"section": section_spec, "body": body_spec}
        forms = [o for o in snippet.options if "=" not in o]
        text = wrap[forms[0]](snippet.text) if forms and forms[0] in wrap else snippet.text
        path = self.folder / (snippet.option("file") or "snippet.yaml")
        path.write_text(text)
        if "model:" not in text:
            path = self.folder / "importing.yaml"
            path.write_text(importing_spec(snippet.option("file") or "snippet.yaml"))
        found = self._output(f"lamina check {path.name}") if self.changed else "\n".join(map(str, lamina.check(path)))
        assert not found or found.startswith("ok: "), found

    def _python(self, snippet: Snippet) -> None:
        name = snippet.option("file")
        if name is not None:
            (self.folder / name).write_text(snippet.text)
            self.changed = True
            return
        code = compile("\n" * snippet.line + snippet.text, str(self.document), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, self.namespace)
        expected = re.findall(r"^ *print\(.*\) +# (.*)$", snippet.text, re.MULTILINE)
        assert printed.getvalue().splitlines() == expected, printed.getvalue()

    def _text(self, snippet: Snippet) -> None:
        name = snippet.option("append")
        assert name is not None or snippet.options == ("picture",), "say what becomes of this text"
        if name is not None:
            with (self.folder / name).open("a") as file:
                file.write(snippet.text)

    def _console(self, snippet: Snippet) -> None:
        if (program := snippet.option("needs")) is not None and shutil.which(program) is None:
            return
        for command, expected in exchanges(snippet.text):
            assert command.split()[0] in COMMANDS, f"{command.split()[0]} is not a command that documents may run"
            printed = self._output(command)
            assert matches(printed, expected), f"$ {command}\nprinted\n{printed}\nwhere the document has\n{expected}"

    def _output(self, command: str) -> str:
        outer = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}  # the tests may run under make
        environment = {**outer, "PYTHONPATH": str(self.folder), "PATH": f"{self.folder}/.venv-demo/bin:{outer['PATH']}"}
        if command == "echo $?":
            return f"{self.code}\n"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        self.code = done.returncode
        return done.stdout


def exchanges(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block and what the block says it prints."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not parts[0].strip(), "a console block starts with a command"
    for part in parts[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def matches(printed: str, expected: str) -> bool:
    """Whether a text is as expected: `...` stands for anything, and errors and times are not compared."""
    wanted = [re.escape(_plain(part)) for part in re.split(r"^\.\.\.\n|\.\.\.", expected, flags=re.MULTILINE)]
    return re.fullmatch(".*?".join(wanted), _plain(printed), re.DOTALL) is not None


def _plain(text: str) -> str:
    return re.sub(r"[ \t]+$", "", _MEASURED.sub("MEASURED", text), flags=re.MULTILINE)


def body_spec(steps: str) -> str:
    """Steps in the smallest spec that holds them."""
    return section_spec("body:\n" + textwrap.indent(steps, "  "))


def section_spec(text: str) -> str:
    """Sections with those that every spec needs; the output is a number made from the last value."""
    sections = _sections(text)
    sections.setdefault("body", "body:\n")
    sections.setdefault("inputs", 'inputs: {x: "float32[N, T, 64]"}\n')
    if "outputs" not in sections:
        sections["body"] += "  - mean(cast(x, 'float32'))\n"
        sections["outputs"] = 'outputs: {total: "float32[]"}\n'
    if "dims" not in sections:
        used = sorted(set(re.findall(r"\b[A-Z]\b", sections["inputs"] + sections["outputs"])))
        sections["dims"] = "dims: {" + ", ".join(f"{name}: {{min: 1, opt: 8, max: 64}}" for name in used) + "}\n"
    return "lamina: 1\nmodel: example\n" + "".join(sections.values())


def _sections(text: str) -> dict[str, str]:
    """The top-level sections of a text, each with its lines."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        name = line.partition(":")[0] if line[:1].isalpha() else name
        found[name] = found.get(name, "") + line + "\n"
    return found


def importing_spec(name: str) -> str:
    """A spec that imports a file of blocks, all of which are then checked."""
    return section_spec(f"use: [./{name}]\nbody:\n  - identity\n")


def _sh(snippet: Snippet) -> None:
    """Commands that a reader types: they are not run here, but what they name exists."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for line in snippet.text.splitlines():
        words = line.partition("#")[0].split()
        match words:
            case ["make", target]:
                assert target in targets, f"the Makefile has no target {target}"
            case ["pip", "install", "-e", what]:
                named = re.fullmatch(r"\.(?:\[([\w,]+)\])?", what)
                assert named, what
                assert set((named[1] or "").split(",")) - {""} <= extras.keys()
            case ["git", "clone", _] | ["cd", _] | []:
                pass
            case _:
                raise AssertionError(f"nothing knows whether `{line}` works")


def _js(snippet: Snippet) -> None:
    assert "onnxruntime-node" in snippet.text, "only what needs onnxruntime-node is run elsewhere"


def _mermaid(snippet: Snippet) -> None:
    boxes = set(re.findall(r"^  (\w+)[\[(]", snippet.text, re.MULTILINE))
    arrows = re.findall(r"^  (\w+) -->(?:\|[^|]*\|)? (\w+)$", snippet.text, re.MULTILINE)
    assert boxes
    assert {end for arrow in arrows for end in arrow} <= boxes


def _json(snippet: Snippet) -> None:
    assert snippet.options == ("manifest",)
    Manifest.model_validate_json(snippet.text)
