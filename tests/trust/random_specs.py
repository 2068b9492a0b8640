"""Random specs over the whole language, as YAML text that a user might write.

Every statement is drawn with the types that it must have, from the shape rules of the ops themselves. What nothing reads is an output.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st
from random_structures import Structures
from random_values import Flow, Var
from ruamel.yaml import YAML

BASE = "base.yaml"


@dataclass(frozen=True)
class Drawn:
    """A spec's text, the variant to try, how often each op and structure stands in it, the choices that led to it, and its base's text."""

    text: str
    variant: str | None
    count: Counter[str]
    choices: tuple[int, ...]
    base: str = ""

    def write(self, folder: Path) -> Path:
        """The spec's file in a folder of its own, its base's beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / BASE).write_text(self.base, encoding="utf-8") if self.base else None
        path = folder / "spec.yaml"
        path.write_text(self.text, encoding="utf-8")
        return path


class Writer(Structures):
    """Writes one spec."""

    def texts(self, flow: Flow) -> tuple[str, str]:
        """The whole spec, and its base if it has one: what nothing reads is an output."""
        body = flow.steps
        read = set(re.findall(r"\w+", " ".join(_texts(body, right=True))))
        leaves = [v for v in flow.names if v.name not in read and v.name not in self.inputs and v.name != "x" and v.name not in self.state]
        if flow.x is not None:
            body.append("y = x")
            leaves.append(Var("y", flow.x.type))
        leaves = leaves[-8:] or [v for v in flow.names if v.name not in self.inputs][-1:]
        always = " ".join(text for text in self.inputs.values() if isinstance(text, str))
        shapes = " ".join(map(str, [*self.inputs.values(), *self.state.values(), *(v.type for v in leaves)]))
        words = set(re.findall(r"\w+", " ".join(_texts([body, self.blocks])) + shapes))
        for name in sorted(words & self.dims.keys() - {"p"}):
            if not re.search(rf"(\[|, ){name}[,\]]", always):
                self.inputs[f"d_{name}"] = f"float32[{name}]"
        if not self.inputs:
            self.inputs["given"] = "float32[3]"
        used = words | set(re.findall(r"\w+", " ".join(map(str, self.inputs.values()))))
        variant = {k: v for k, v in self.variant.items() if k in used}
        outputs: dict[str, Any] = {v.name: str(v.type) for v in leaves}
        if len(leaves) > 1 and self.chance(0.2):
            outputs[leaves[0].name] = {"type": str(leaves[0].type), "train": True}
            self.count["output of training"] += 1
        spec = {
            "lamina": 1,
            "model": "random",
            "use": sorted(self.use),
            "config": {k: v for k, v in self.config.items() if k in used},
            "variants": {"other": variant} if variant else {},
            "inputs": self.inputs,
            "dims": {
                n: {"min": s.min, "opt": s.opt, "max": s.max, "multiple_of": s.multiple_of} for n, s in self.dims.items() if n in used
            },
            "state": self.state,
            "modules": self.modules,
            "blocks": {k: v for k, v in self.blocks.items() if k in words},
            "adapt": {name: steps for name, steps in self.adapt.items() if name in words},
            "body": body,
            "outputs": outputs,
        }
        if not self.chance(0.1):
            return _yaml(spec), ""
        self.count["base"] += 1
        base = {k: v for k, v in spec.items() if k not in ("adapt", "variants")}
        again = self.pick([("config",), ("outputs", "modules"), ("dims", "state"), ()])
        return _yaml(
            {"lamina": 1, "model": "random", "base": f"./{BASE}", **{k: spec[k] for k in ("use", "adapt", "variants", *again)}}
        ), _yaml(base)


def _yaml(spec: dict[str, Any]) -> str:
    out = io.StringIO()
    yaml = YAML(pure=True)
    yaml.width = 4096
    yaml.dump({k: v for k, v in spec.items() if v not in ({}, [])}, out)
    return out.getvalue()


def specs() -> st.SearchStrategy[Drawn]:
    """Specs of one to eight statements, some of them with others inside. Drawn choice by choice they would be much alike."""
    return st.integers(0, 2**32).map(numbered)


def numbered(number: int) -> Drawn:
    """The spec of that number."""
    return written(Random(number).randrange)


def written(below: Callable[[int], int]) -> Drawn:
    """The spec that follows from choices; a choice is a number below the given one, and 0 the simplest."""
    writer = Writer(below)
    flow = Flow([], top=True)
    shapes = ["b, 8", "b, t, 8", "b, 3, h, w", "t, 6", "b, t", "b, 2, t, 8"]
    writer.input(flow, writer.type(f"float32[{writer.pick(shapes)}]"))
    if writer.chance(0.25):
        writer.input(flow, writer.type(f"{writer.pick(['int64', 'bool', 'int32', 'float64', 'float16'])}[b, t]"))
    writer.fill(flow, 1 + writer.pick(range(8)), 2)
    if not [v for v in flow.names if v.name not in writer.inputs]:
        writer.operator(flow, 0)
    variant = "other" if writer.variant and writer.chance(0.5) else None
    text, base = writer.texts(flow)
    return Drawn(text, variant if "variants:" in text else None, writer.count, tuple(writer.choices), base)


def simpler(found: Drawn, fails: Callable[[Drawn], bool]) -> Drawn:
    """A spec of fewer and simpler choices that still fails."""

    def replay(choices: Sequence[int]) -> Drawn:
        left = iter(choices)
        return written(lambda n: min(next(left, 0), n - 1))

    size = len(found.choices) // 2
    while size:
        at = 0
        while at < len(found.choices):
            before, after = found.choices[:at], found.choices[at + size :]
            for tried in (before + after, before + (0,) * size + after):
                new = replay(tried)
                if (len(new.text), new.choices) < (len(found.text), found.choices) and fails(new):
                    found = new
                    break
            else:
                at += size
        size //= 2
    return found


def _texts(node: Any, right: bool = False) -> Iterator[str]:
    """Every text in steps; of an assignment, if `right`, what stands right of it."""
    if isinstance(node, str):
        yield node.partition(" = ")[2] if right and re.match(r"[\w, ]+ = ", node) else node
    elif isinstance(node, dict):
        for key, value in node.items():
            if not right:
                yield str(key)
            yield from _texts(value, right)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _texts(value, right)
