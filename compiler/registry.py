"""The vocabulary: ops found by walking `ops/`. A file is imported only when its op is used."""

from __future__ import annotations

import importlib
import inspect
from functools import cache
from pathlib import Path

from lamina.compiler.op import Op

_FOLDER = Path(__file__).parent / "ops"


@cache
def op_names() -> frozenset[str]:
    """Every op's name: the names of the files (or folders) in `ops/`."""
    return frozenset(p.stem for p in _FOLDER.iterdir() if not p.name.startswith("_") and (p.suffix == ".py" or p.is_dir()))


@cache
def find_op(name: str) -> type[Op] | None:
    """The op of that name, or None."""
    if name not in op_names():
        return None
    module = importlib.import_module(f"lamina.compiler.ops.{name}")
    found = [c for c in vars(module).values() if inspect.isclass(c) and issubclass(c, Op) and c.__module__.startswith(module.__name__)]
    named = [c for c in found if getattr(c, "name", None) == name]
    if len(named) != 1:
        raise TypeError(f"{module.__name__} must define one op named {name!r}")
    return named[0]
