"""Where things come from, as files say it: `mine.yaml:12:5`, seen from the spec's folder, and the path of the step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, final

from lamina.compiler.graph import Origin

if TYPE_CHECKING:
    from lamina.schema.spec import ModelSpec

SOURCE, PATH = "lamina.source", "lamina.path"  # in the metadata of an ONNX node


@final
class Places:
    """Places as text; files in `folder` as seen from there."""

    def __init__(self, folder: PurePath | None) -> None:
        self.folder = folder
        self.files: dict[str, str] = {}

    def of(self, origin: Origin) -> str:
        """The place of a step."""
        span = origin.span
        return f"{self.file(span.file)}:{span.line}:{span.column}"

    def file(self, name: str) -> str:
        """A file as it is seen from the folder."""
        return self.files.get(name) or self.files.setdefault(name, self._seen(name))

    def table(self, origins: Mapping[str, Origin]) -> dict[str, dict[str, str]]:
        """The places and paths of many things, by name: what a bundle's `origins.json` holds of a target."""
        return {name: {"source": self.of(origin), "path": origin.path} for name, origin in origins.items()}

    def _seen(self, file: str) -> str:
        path = PurePath(file)
        return path.relative_to(self.folder).as_posix() if self.folder is not None and path.is_relative_to(self.folder) else file


def of_inputs(spec: ModelSpec) -> dict[str, Origin]:
    """Where each input is declared, by its name."""
    return {declared.name: Origin(declared.span, declared.name) for declared in spec.inputs}


def mentioned(text: str, names: Iterable[str]) -> str:
    """The longest of these names that stands in a text as a word of its own, or an empty string."""
    found = (name for name in names if name in text and re.search(rf"(?<![\w./]){re.escape(name)}(?![\w/])", text))
    return max(found, key=len, default="")
