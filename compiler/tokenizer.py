"""The tokenizer that a bundle carries: a file that the spec names, beside the checkpoint or the spec."""

from __future__ import annotations

from pathlib import Path

from lamina.schema.diagnostics import Diagnostic, Span, SpecError
from lamina.schema.spec import ModelSpec


def find_tokenizer(spec: ModelSpec, checkpoint: Path | None) -> Path | None:
    """The file, or None where there is none. Random weights go without it; beside a checkpoint it must be there (SpecError)."""
    if spec.tokenizer is None:
        return None
    name = Path(spec.tokenizer.file)
    folders = [f for f in (checkpoint, spec.path.parent) if f is not None]
    inside = not name.is_absolute() and ".." not in name.parts
    found = next((f / name for f in folders if inside and (f / name).is_file()), None)
    if found is None and checkpoint is not None:
        message = f"the tokenizer `{name}` is not in {' or '.join(map(str, folders))}"
        raise SpecError([Diagnostic("file", message, Span(str(spec.path), 1, 1), "put it beside the checkpoint")], spec.sources)
    return found
