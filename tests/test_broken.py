"""Every file in `broken/` gives exactly the diagnostics that its first lines promise; no input, however odd or hostile, does worse."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina.schema.diagnostics import Diagnostic

FOLDER = Path(__file__).parent / "broken"
ROOT = FOLDER.parent.parent
FILES = sorted(FOLDER.glob("*.yaml"))
GOOD = """\
lamina: 1
model: classifier
config: {hidden: 32, depths: [1, 2]}
variants: {small: {}, large: {depths: [2, 4]}}
inputs: {x: "float32[N, 16]"}
dims: {N: {min: 1, opt: 8, max: 64}}
blocks:
  mlp:
    args: {width: int, act: "block = gelu"}
    body:
      - residual: [linear: width, act, linear: 16]
body:
  - for: depth in depths
    do:
      - repeat: depth
        do: [mlp: hidden]
  - a, b = split(linear(x, 20), 2)
  - a * sigmoid(b)
outputs: {y: "float32[N, 10]"}
"""
_LINE = re.compile(r"# (expect|note|help): ?(.*)")
_PLACE = re.compile(r"(?:(?P<file>[\w./]+):)?(?P<line>\d+):(?P<column>\d+) (?:error\[(?P<code>[\w-]+)\]: )?(?P<message>.*)")


@dataclass
class Expected:
    """One promised diagnostic, as text lines."""

    place: str
    help: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def code(self) -> str:
        match = _PLACE.fullmatch(self.place)
        assert match is not None
        return match["code"]


def promised(path: Path) -> list[Expected]:
    """The diagnostics that a file's first lines promise."""
    found: list[Expected] = []
    for line in path.read_bytes().decode("utf-8", "replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            break
        kind, text = match.groups()
        if kind == "expect":
            found.append(Expected(_with_file(text, path)))
        elif kind == "help":
            found[-1].help = text
        else:
            found[-1].notes.append(_with_file(text, path))
    return found


def _with_file(text: str, path: Path) -> str:
    match = _PLACE.fullmatch(text)
    assert match is not None, f"{path.name}: not a place and a message: {text}"
    return text if match["file"] else f"{path.name}:{text}"


def given(path: Path) -> list[Expected]:
    """The diagnostics that checking a file gives."""
    return [_as_expected(d) for d in lamina.check(path)]


def _as_expected(diagnostic: Diagnostic) -> Expected:
    notes = [f"{_relative(n.span)} {n.message}" for n in diagnostic.notes]
    return Expected(f"{_relative(diagnostic.span)} error[{diagnostic.code}]: {diagnostic.message}", diagnostic.hint, notes)


def _relative(place: object) -> str:
    return str(place).removeprefix(f"{FOLDER}/")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_gives_the_message_it_promises(path: Path) -> None:
    expected = promised(path)
    assert expected, "the file does not open with `# expect:`"
    assert given(path) == expected


def test_there_are_enough_files() -> None:
    assert len(FILES) >= 60


def test_the_table_lists_every_code_and_no_other() -> None:
    table = re.findall(r"^\| `([\w-]+)` \|", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    codes = {e.code for path in FILES for e in promised(path)}
    assert table == sorted(codes | {"file"})  # a file that cannot be read is no file of the folder


def test_a_good_file_gives_none(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    for text in (GOOD, GOOD.replace("\n", "\r\n"), "\ufeff" + GOOD):
        path.write_bytes(text.encode())
        assert lamina.check(path) == ()
        assert lamina.check(path, variant="large", hidden=8) == ()


_MEASURE = """
import json, pathlib, re, sys, time
import lamina
times = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.yaml")):
    start = time.process_time()  # others use the machine
    lamina.check(path)
    times[path.name] = time.process_time() - start
# Not ru_maxrss: a new process inherits that from the one that started it, across exec.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
print(json.dumps({"times": times, "mib": peak / 1024}))
"""


def test_time_and_memory_are_bounded() -> None:
    done = subprocess.run([sys.executable, "-c", _MEASURE, str(FOLDER)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert len(measured["times"]) == len(FILES)
    assert {name: t for name, t in measured["times"].items() if t > 5} == {}
    assert measured["mib"] < 600


# --- files that no repository can hold, or that an editor would mend ---


def one(path: Path, **options: Any) -> str:
    """The only diagnostic of a file, as text."""
    (diagnostic,) = lamina.check(path, **options)
    span = diagnostic.span
    return f"{span.line}:{span.column} error[{diagnostic.code}]: {diagnostic.message} ({diagnostic.hint})".replace(f"{path.parent}/", "")


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(GOOD.replace("model: classifier", "model: résumé").encode("latin-1"))
    assert one(path) == "2:9 error[encoding]: the file is not UTF-8: byte 0xe9 cannot be read (save the file as UTF-8)"


def test_utf16(tmp_path: Path) -> None:
    path = tmp_path / "utf16.yaml"
    path.write_bytes(GOOD.encode("utf-16"))
    assert one(path) == "1:1 error[encoding]: the file is not UTF-8: byte 0xff cannot be read (save the file as UTF-8)"


def test_a_nul_byte(tmp_path: Path) -> None:
    path = tmp_path / "nul.yaml"
    path.write_bytes(GOOD.replace("classifier", "class\0ifier").encode())
    assert one(path) == "2:13 error[encoding]: the character U+0000 cannot stand in a spec (remove it)"


def test_a_hundred_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(100 * 1024**2)
    start = time.perf_counter()
    said = one(path)
    assert (
        said
        == "1:1 error[limit]: `large.yaml` is larger than 1 MiB, the most a spec may be (weights belong in a checkpoint, not in the spec)"
    )
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("text", ["[" * 1_000_000, "a:\n" + " - " * 300_000, "{a: " * 250_000, "'" + "x" * 1_000_000, "a: 1\n" * 100_000])
def test_a_megabyte_of_nothing_good(tmp_path: Path, text: str) -> None:
    path = tmp_path / "flood.yaml"
    path.write_text(text)
    start = time.process_time()
    assert lamina.check(path)
    assert time.process_time() - start < 5


def test_no_such_file(tmp_path: Path) -> None:
    assert one(tmp_path / "absent.yaml") == "1:1 error[file]: cannot read `absent.yaml`: No such file or directory ()"
    assert one(tmp_path).endswith(": Is a directory ()")


def test_a_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("lamina: 1\nblocks: {b: {body: [gelu]}}\n")
    inside = tmp_path / "project"
    inside.mkdir()
    (inside / "innocent.yaml").symlink_to(tmp_path / "secret.yaml")
    path = inside / "spec.yaml"
    path.write_text(GOOD.replace("blocks:", "use: [./innocent.yaml]\nblocks:", 1))
    assert one(path) == "7:7 error[path]: `./innocent.yaml` leads out of the spec's folder (copy the file beside the spec)"


# --- what the command line gives ---


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"variant": "lage"}, "4:11 error[unknown-variant]: there is no variant `lage` (did you mean `large`?)"),
        ({"hiden": 8}, "1:1 error[unknown-config]: `hiden` is not in the config (did you mean `hidden`?)"),
        ({"hidden": 0.5}, "1:1 error[type]: `hidden` must be a whole number, but it is `0.5` ()"),
        (
            {"hidden": "wide"},
            "1:1 error[undefined-name]: `wide` is not defined here (known here: N)",
        ),
        ({"hidden": "[1"}, "1:1 error[yaml]: this `[` is never closed (write the `]` that ends it)"),
    ],
)
def test_overrides(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    assert one(path, **options) == said


def _lamina(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "lamina", *map(str, arguments)], cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=60
    )


def test_the_command_quotes_the_line_and_exits_with_1() -> None:
    done = _lamina("check", "op_unknown.yaml")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "op_unknown.yaml:8:5: error[unknown-op]: there is no op, block or module named `cov`",
        "  8 |   - cov: {out: 8, kernel: 3}",
        "    |     ^^^",
        "  = help: did you mean `conv`?",
    ]


def test_the_command_gives_json() -> None:
    done = _lamina("check", "--json", "several_mistakes.yaml")
    assert done.returncode == 1
    found = [
        f"{d['span']['file']}:{d['span']['line']}:{d['span']['column']} error[{d['code']}]: {d['message']}" for d in json.loads(done.stdout)
    ]
    assert found == [e.place for e in promised(FOLDER / "several_mistakes.yaml")]


# --- mutations ---


def mutations(count: int) -> Iterator[str]:
    """A good file, and the broken ones, each changed in one to three places: lines dropped, moved, doubled, indented; text put in, cut."""
    choice = random.Random(2026)
    texts = [GOOD, *(p.read_text(encoding="utf-8") for p in FILES if not p.stem.startswith(("limit", "encoding")))]
    for _ in range(count):
        text = choice.choice(texts)
        for _ in range(choice.randrange(1, 4)):
            text = _mutated(text, choice)
        yield text


_PIECES = [
    "[",
    "]",
    "{",
    "}",
    ": ",
    " #",
    "- ",
    '"',
    "'",
    ",",
    "(",
    ")",
    "*",
    "&a ",
    "!!t ",
    "%",
    "\t",
    "\n",
    "  ",
    "=",
    "1e9",
    "null",
    "__",
    ".",
    "@",
    "é",
    "\0",
]


def _mutated(text: str, choice: random.Random) -> str:
    lines = text.split("\n")
    line, other, at = choice.randrange(len(lines)), choice.randrange(len(lines)), choice.randrange(len(text) + 1)
    match choice.randrange(6):
        case 0:
            del lines[line]
        case 1:
            lines[line], lines[other] = lines[other], lines[line]
        case 2:
            lines.insert(other, lines[line])
        case 3:
            lines[line] = choice.choice(["", " ", "    "]) + lines[line].lstrip()
        case 4:
            return text[:at] + choice.choice(_PIECES) + text[at:]
        case _:
            return text[:at] + text[at + choice.randrange(1, 8) :]
    return "\n".join(lines)


def test_mutations_give_diagnostics_and_nothing_else(tmp_path: Path) -> None:
    path, wrong = tmp_path / "mutated.yaml", 0
    for text in mutations(400):
        path.write_text(text, encoding="utf-8")
        found = lamina.check(path)
        lines = text.splitlines()
        wrong += bool(found)
        for diagnostic in found:
            assert diagnostic.message
            assert 1 <= diagnostic.span.line <= len(lines) + 1
    assert wrong > 300
