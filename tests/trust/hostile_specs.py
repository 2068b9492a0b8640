"""Hostile specs: texts of the zoo and of `tests/broken` with bytes, tokens, lines and nodes changed, and texts made to break a reader."""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from ruamel.yaml import YAML

from lamina.compiler.api import load
from lamina.compiler.elaborate import elaborate

ROOT = Path(__file__).resolve().parents[2]
NAME = "hostile.yaml"
HEAD = "lamina: 1\nmodel: hostile\n"
TAIL = "inputs:\n  x: float32[b, 8]\ndims:\n  b: {max: 64}\nbody:\n  - linear: 8\noutputs:\n  y: float32[b, 8]\n"
NUMBERS = (
    "0", "-1", "1.5", "1e999", "-1e999", ".nan", ".inf", "9" * 5000, "2**63", "2**31", str(2**63), "10**10**10", "1e-999",
    "0x" + "f" * 400,
)  # fmt: skip
EXPRESSIONS = (
    "range(10**9)", "[0] * 10**9", "'a' * 10**9", "sum(range(100000))", "10**10**10", "(2**62) * (2**62)", "1 // 0", "1 % 0",
    "-(2**63) // -1", "2 ** -1", "0.0 ** -1", "__import__('os').system('id')", "().__class__.__mro__", "x.__init__", "f'{x}'",
    "lambda: 1", "(y := 1)", "[i for i in range(100000) for j in range(100000)]", "[[0] * 1000 for i in range(100000)]", "max([])",
    "zip()", "range(1, 10, 0)", "x[10**20]", "x[::0]", "-" * 3000 + "1", "(" * 300 + "1" + ")" * 300, "1" + "+1" * 5000,
    "not " * 2000 + "x", "[" * 90 + "]" * 90, "x" + "[0]" * 900, "x" + ".a" * 900, "'" + "b" * 20000 + "'", "float('nan')",
    "int('9' * 9)", "1 if x else 2", "x @ x", "*x", "**x", "b'x'", "1j", "...", "rearrange(x, 'b d -> b " + "1 " * 500 + "d')",
    "einsum(x, x, '" + "a" * 300 + "->a')", "reshape(x, [-1, -1])", "reshape(x, [2**62, 2**62])",
)  # fmt: skip
TRICKS = (
    '"\\e[31mred"', '"\\u202egnp.exe"', '"\\0"', '"\\ud800"', '"\\ufeff"', "\u202e", "\u2066", "\ufeff", "\u200b", "\u0430", "\u2028",
    "\U000e0041", "\x1b[2J", "\x00", "\r", "\x85", "\ufffe", "é" * 10000, "a" * 200_000, "ﬁ", "Ⅷ", "٣", "²", "&a [*a]", "*nowhere",
    "!!python/object/apply:os.system ['id']", "!!binary aGk=", "!!set {a}", "!<tag:x> 1", "? a", "? [a, b]\n: c", "{a: b", "[a, b",
    "'open", '"open', "|", ">", "|\n\n\n", "%YAML 9.9", "---", "...", "- - - - a", "<<: *a", "<<: [*a, *b]", "null", "~", "", "true",
    "2026-01-01", "1:20", "{}", "[]", "[[]]", "{[]: 1}", "/etc/passwd", "../../x", "./../x", "./" + "a/" * 3000, "./\0", "./outside.yaml",
    "${HOME}", "`id`", "$(id)", "a.b.c", "a: b: c", "#", "@", "`", "%",
)  # fmt: skip


def make(chance: Random, folder: Path) -> tuple[str, Callable[[], object]]:
    """Write a hostile spec into the folder; what it is, and the call that must refuse or take it."""
    how = chance.choices((_bytes, _tokens, _lines, _nodes, _bomb, _file, _override), (4, 8, 6, 5, 1, 1, 3))[0]
    settings: dict[str, str] = {}
    small = chance.random() < 0.9
    name = how(chance, folder, settings)
    variant = chance.choice(("base", "\u202e", "9" * 3000)) if chance.random() < 0.03 else None
    return name, lambda: elaborate(load(folder / NAME, variant, small=small, **settings))


@cache
def seeds() -> tuple[str, ...]:
    """Texts to start from, whose neighbours `./...` are not needed."""
    files = [*sorted((ROOT / "specs").glob("*/*.yaml")), *sorted((ROOT / "tests" / "broken").glob("*.yaml"))]
    texts = [path.read_bytes().decode("utf-8", "replace") for path in files]
    return tuple(text for text in texts if len(text) < 4000)


@cache
def _parsed(text: str) -> Any:
    if re.search(r"&\w", text):  # what its aliases make may have no end
        return {}
    try:
        return YAML(typ="safe", pure=True).load(io.StringIO(text))
    except Exception:  # some of `tests/broken` are not YAML
        return {}


def _bytes(chance: Random, folder: Path, _: dict[str, str]) -> str:
    data = bytearray(chance.choice(seeds()).encode())
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data))
        data[at : at + chance.choice((0, 1, 1, 9))] = bytes(chance.choices(range(256), k=chance.choice((0, 1, 1, 3))))
    (folder / NAME).write_bytes(data)
    return "bytes"


def _tokens(chance: Random, folder: Path, _: dict[str, str]) -> str:
    parts = re.findall(r"\w+|\s+|.", chance.choice(seeds()))
    others = re.findall(r"\w+|\s+|.", chance.choice(seeds()))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(parts))
        parts[at] = chance.choice((chance.choice(parts), chance.choice(others), "", *chance.choices(NUMBERS + EXPRESSIONS + TRICKS, k=2)))
    _write(folder, "".join(parts))
    return "tokens"


def _lines(chance: Random, folder: Path, _: dict[str, str]) -> str:
    lines = chance.choice(seeds()).splitlines()
    for _ in range(chance.randint(1, 5)):
        at, other = chance.randrange(len(lines)), chance.choice(chance.choice(seeds()).splitlines() or [""])
        kind = chance.randrange(6)
        if kind == 0:
            del lines[at : at + chance.randint(1, 3)]
        elif kind == 1:
            lines[at:at] = lines[at : at + chance.randint(1, 9)]
        elif kind == 2:
            lines.insert(at, other)
        elif kind == 3:
            lines[at] = " " * chance.randint(0, 8) + lines[at].strip()
        elif ":" in lines[at]:
            lines[at] = lines[at].partition(":")[0] + ": " + chance.choice(NUMBERS + EXPRESSIONS + TRICKS)
        lines = lines or [""]
    _write(folder, "\n".join(lines))
    return "lines"


def _nodes(chance: Random, folder: Path, _: dict[str, str]) -> str:
    tree = copy.deepcopy(_parsed(chance.choice(seeds())))
    for _ in range(chance.randint(1, 3)):
        change(tree, chance, (*NUMBERS[:9], *EXPRESSIONS, *TRICKS, 0, -1, 2**63, 1e308, None, True, [], {}, [[]], "x"))
    _write(folder, json.dumps(tree, default=str, ensure_ascii=chance.random() < 0.5))
    return "nodes"


def change(tree: Any, chance: Random, values: tuple[Any, ...]) -> None:
    """Replace, remove, copy, rename or wrap one node of plain data, in place."""
    places = [(tree, key) for key in _keys(tree)]
    for holder, key in places:
        places += [(holder[key], inner) for inner in _keys(holder[key])]
    if not places:
        return
    holder, key = chance.choice(places)
    other = chance.choice(places)
    kind = chance.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = copy.deepcopy(other[0][other[1]])
    elif kind == 2 and isinstance(holder, dict):
        holder[chance.choice((*map(str, values), str(other[1])))[:3000]] = holder.pop(key)
    elif kind == 3:
        holder[key] = [holder[key]] if chance.random() < 0.5 else {"do": holder[key]}
    else:
        holder[key] = copy.deepcopy(chance.choice(values))


def _keys(node: Any) -> list[Any]:
    return list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []


def _bomb(chance: Random, folder: Path, _: dict[str, str]) -> str:
    name = chance.choice(tuple(BOMBS))
    _write(folder, BOMBS[name](chance))
    return f"bomb: {name}"


def _size(chance: Random) -> int:
    """Below, at and above whatever bound there may be."""
    return int(10 ** chance.uniform(1, 6.3))


def _spec(extra: str = "", step: str = "linear: 8") -> str:
    return HEAD + extra + TAIL.replace("linear: 8", step)


def _laughs(chance: Random) -> str:
    depth = chance.randint(3, 40)
    lines = ["a0: &a0 [x, x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth))]
    return _spec("config:\n  " + "\n  ".join(lines) + "\n")


def _merges(chance: Random) -> str:
    depth = chance.randint(2, 60)
    return _spec(
        "".join(f"m{i}: &m{i}\n  <<: [{', '.join([f'*m{i - 1}'] * 2)}]\n  k{i}: 1\n" for i in range(1, depth)).replace("*m0", "{}")
    )


def _calls(chance: Random) -> str:
    """Blocks that each call the one before it several times."""
    depth, each = chance.randint(2, 90), chance.randint(1, 10)
    lines = ["  b0:\n    body:\n      - linear: 8"]
    lines += [f"  b{i}:\n    body:\n" + f"      - b{i - 1}\n" * each for i in range(1, depth)]
    return _spec("blocks:\n" + "\n".join(lines) + "\n", f"b{depth - 1}")


BOMBS: dict[str, Callable[[Random], str]] = {
    "aliases": _laughs,
    "merge keys": _merges,
    "blocks that call blocks": _calls,
    "open brackets": lambda c: _spec("", chance_text(c, "[", "{", "{a: ", "- ", "[a, ") * _size(c)),
    "deep mapping": lambda c: "\n".join(" " * i + "a:" for i in range(min(_size(c), 2000))),
    "deep list": lambda c: "- " * _size(c),
    "many keys": lambda c: _spec("config:\n" + "".join(f"  k{i}: {i}\n" for i in range(min(_size(c), 200_000)))),
    "many steps": lambda c: _spec("", "linear: 8\n" + "  - relu\n" * min(_size(c), 200_000)),
    "long line": lambda c: _spec("config:\n  k: " + "9" * _size(c) + "\n"),
    "long list": lambda c: _spec("config:\n  k: [" + "1, " * _size(c) + "1]\n"),
    "long expression": lambda c: _spec("", f'linear: "{"1+" * _size(c)}1"'),
    "repeat": lambda c: _spec("", f"repeat: {_size(c)}\n    do:\n      - linear: 8"),
    "repeat in repeat": lambda c: _spec("", f"repeat: {_size(c)}\n    do:\n      - repeat: {_size(c)}\n        do:\n          - relu"),
    "for": lambda c: _spec("", f'for: "i in range({_size(c)})"\n    do:\n      - linear: 8'),
    "for over a large list": lambda c: _spec("", f'for: "i in [j * {_size(c)} for j in range({_size(c)})]"\n    do:\n      - linear: 8'),
    "lists in lists": lambda c: _spec("", f'linear: "sum([sum(range({_size(c)})) for i in range({_size(c)})])"'),
    "assigned lists": lambda c: _spec("", f'repeat: {_size(c)}\n    do:\n      - "z = [i for i in range({_size(c)})]"'),
    "config expression": lambda c: _spec(f'config:\n  k: "{c.choice(EXPRESSIONS)}"\n', "linear: k"),
    "expression": lambda c: _spec("", f'"{c.choice(EXPRESSIONS)}"'),
    "argument": lambda c: _spec("", f'linear: "{c.choice(EXPRESSIONS)}"'),
    "huge size": lambda c: _spec("", f"linear: {10 ** c.randint(1, 30)}"),
    "many dims": lambda c: _spec().replace("float32[b, 8]", f"float32[{', '.join(['b'] * min(_size(c), 100_000))}]"),
    "dim expression": lambda c: _spec().replace("b, 8", "b" + "*b" * min(_size(c), 100_000) + ", 8"),
    "dim power": lambda c: _spec().replace("max: 64", f"max: {10 ** c.randint(1, 25)}").replace("b, 8", "b*b*b*b, 8"),
    "anchors": lambda c: "".join(f"a{i}: &a{i} {i}\n" for i in range(min(_size(c), 100_000))),
    "nothing but comments": lambda c: "#\n" * _size(c),
    "nothing but colons": lambda c: ":" * _size(c),
    "patterns": lambda c: _spec(
        "weights:\n  rename:\n    " + json.dumps("*a" * c.randint(1, 300)) + ": " + json.dumps("{i}" * c.randint(1, 90)) + "\n"
    ),
    "rearrange": lambda c: _spec("", "rearrange: '" + "(" * c.randint(1, 2000) + "b d -> b d'"),
    "variants": lambda c: _spec("config:\n  k: 1\nvariants:\n" + "".join(f"  v{i}: {{k: {i}}}\n" for i in range(min(_size(c), 100_000)))),
    "large file": lambda c: _spec("# " + "x" * (_size(c) * 4) + "\n"),
}


def chance_text(chance: Random, *texts: str) -> str:
    return chance.choice(texts)


def _file(chance: Random, folder: Path, _: dict[str, str]) -> str:
    """What is no plain file, or asks for files that are not its own."""
    path, outside = folder / NAME, folder.parent / "outside"
    kind = chance.choice(
        ("link to nothing", "link to itself", "device", "folder", "none", "empty", "import", "base", "linked import", "tokenizer")
    )
    where = chance.choice(
        (
            "../outside/secret",
            str(outside / "secret.yaml"),
            "./linked.yaml",
            "./folder",
            "./../outside/secret.yaml",
            "./loop.yaml",
            "./zero.yaml",
        )
    )
    (folder / "linked.yaml").symlink_to(outside / "secret.yaml")
    (folder / "folder.yaml").mkdir()
    (folder / "loop.yaml").symlink_to("loop.yaml")
    (folder / "zero.yaml").symlink_to("/dev/zero")
    if kind == "link to nothing":
        path.symlink_to("nothing")
    elif kind == "link to itself":
        path.symlink_to(NAME)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(chance.choice((b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\0" * 100, b"\n" * 100)))
    elif kind in ("import", "linked import"):
        _write(folder, HEAD + f"use: [{json.dumps(where)}]\n" + TAIL)
    elif kind == "base":
        _write(folder, HEAD + f"base: {json.dumps(where)}\n")
    elif kind == "tokenizer":
        _write(folder, _spec(f"tokenizer: {{file: {json.dumps(where)}, ids: x}}\n"))
    return f"file: {kind}"


def _override(chance: Random, folder: Path, settings: dict[str, str]) -> str:
    """A good spec with hostile values for its config."""
    text = chance.choice([text for text in seeds() if "\nconfig:" in text])
    config = (_parsed(text) or {}).get("config")
    names = [str(name) for name in config] if isinstance(config, dict) else ["k"]
    for name in chance.choices(names, k=chance.randint(1, 3)):
        settings[name] = chance.choice((*NUMBERS, *EXPRESSIONS, *TRICKS, str(_size(chance)), str(_size(chance))))
    settings.pop("path", None), settings.pop("variant", None), settings.pop("small", None)
    _write(folder, text)
    return "override"


def _write(folder: Path, text: str) -> None:
    (folder / NAME).write_bytes(text.encode("utf-8", "surrogatepass"))
