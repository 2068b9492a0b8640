"""Which inputs of a bundle take tokens and their mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lamina.runtime.manifest import Input, Manifest, Tensor
from lamina.schema.dtypes import INTEGERS


def fed(manifest: Manifest) -> dict[str, Input]:
    """The inputs that a caller feeds, by name: all but states and adapters."""
    return {spec.name: spec for spec in manifest.inputs if spec.name not in manifest.supplied}


def token_inputs(manifest: Manifest, among: Mapping[str, Input]) -> tuple[Input | None, Input | None]:
    """What takes the tokens, and what takes their mask: those that the tokenizer feeds, else the only one of integers [N, T]."""
    if manifest.tokenizer is not None:
        return among.get(manifest.tokenizer.ids), among.get(manifest.tokenizer.mask or "")
    tokens = [spec for spec in among.values() if spec.dtype in INTEGERS and len(spec.shape) == 2]
    return (tokens[0] if len(tokens) == 1 else None), None


def longest(manifest: Manifest, tokens: Input) -> int:
    """How many tokens a call takes at most."""
    size = tokens.shape[1]
    return manifest.dims[size].max if isinstance(size, str) and size in manifest.dims else int(size)


def listed(specs: Iterable[Tensor]) -> str:
    """Inputs or outputs in a sentence."""
    return ", ".join(f"`{spec.name}: {spec}`" for spec in specs) or "nothing"
