"""The compiler's Python face: load a spec, check it, make a PyTorch module of it. `compile` has a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.compiler.elaborate import elaborate
from lamina.compiler.load import load_spec
from lamina.schema.diagnostics import Diagnostic, SpecError
from lamina.schema.spec import ModelSpec

if TYPE_CHECKING:
    from lamina.compiler.compile import Given
    from lamina.compiler.targets.torch import LaminaModule


def load(path: str | Path, variant: str | None = None, *, small: bool = False, **config: Any) -> ModelSpec:
    """Read a spec file, choosing a variant and config values; `small` applies the spec's own small sizes. Raises SpecError."""
    return load_spec(path, variant, {k: _yaml(v) for k, v in config.items()}, small)


def check(path: str | Path, variant: str | None = None, **config: Any) -> tuple[Diagnostic, ...]:
    """Every diagnostic of a spec; empty when it is right."""
    try:
        elaborate(load(path, variant, **config))
    except SpecError as error:
        return error.diagnostics
    return ()


def to_torch(spec: ModelSpec, weights: Given = None, seed: int = 0) -> LaminaModule:
    """The model as a trainable `torch.nn.Module`, in train mode, its parameters under their paths in the spec.

    `weights` is a checkpoint, several of which each holds some, or None for the seeded weights that `compile` writes for the same seed;
    "none" leaves the parameters on the `meta` device. Raises SpecError, and MissingDependency where PyTorch is not installed.
    """
    from lamina.compiler.compile import weight_source
    from lamina.compiler.lower import lower
    from lamina.compiler.missing import need_torch

    need_torch("a PyTorch module")
    from lamina.compiler.targets.torch import to_module

    model = elaborate(spec)
    kept = frozenset(value.name for value in model.graph.outputs)
    return to_module(lower(model.trained, "module"), weight_source(spec, model, weights, seed, model.trained).weights, kept)


def _yaml(value: Any) -> str:
    """A Python value as YAML flow text (JSON is YAML)."""
    import json

    return value if isinstance(value, str) else json.dumps(value)
