"""The tokenizer that a bundle carries: a file that the spec names, beside the checkpoint or the spec, or what a GGUF file holds of one."""

from __future__ import annotations

from pathlib import Path

from lamina.compiler.weights.files import weights_file
from lamina.compiler.weights.gguf_tokenizer import gguf_tokenizer
from lamina.schema.diagnostics import Diagnostic, Fault, Span, SpecError
from lamina.schema.spec import ModelSpec


def tokenizer_file(spec: ModelSpec, checkpoint: Path | None) -> bytes | None:
    """The file's bytes, from beside the checkpoint, else of the checkpoint's own, else from beside the spec; None where there is none.

    Random weights go without it; with a checkpoint it must be there. Raises SpecError.
    """
    if spec.tokenizer is None:
        return None
    if checkpoint is None:
        return _beside(spec.path.parent, spec.tokenizer.file)
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    found = _beside(folder, spec.tokenizer.file)
    found = _held(spec, checkpoint) if found is None else found
    found = _beside(spec.path.parent, spec.tokenizer.file) if found is None else found
    if found is not None:
        return found
    message = f"the tokenizer `{spec.tokenizer.file}` is not in {folder} or {spec.path.parent}"
    raise SpecError([Diagnostic("file", message, Span(str(spec.path), 1, 1), "put it beside the checkpoint")], spec.sources)


def _beside(folder: Path, name: str) -> bytes | None:
    """A file of the folder, never one outside it."""
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    return (folder / name).read_bytes() if inside and (folder / name).is_file() else None


def _held(spec: ModelSpec, checkpoint: Path) -> bytes | None:
    """The tokenizer that a GGUF file holds. Raises SpecError where that is of a kind that is not read."""
    file = weights_file(checkpoint)
    try:
        return gguf_tokenizer(file) if file.suffix == ".gguf" else None
    except Fault as fault:
        raise SpecError([fault.at(Span(str(file), 1, 1))], spec.sources) from fault
