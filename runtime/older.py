"""What earlier compilers wrote into manifests, in today's form."""

from __future__ import annotations

from typing import Any

from lamina.runtime.parts import Engine


def today(manifest: Any) -> Any:
    """The parsed JSON of a manifest, as a compiler of today would write it. What is of no known form stays as it is."""
    match manifest:
        case {"targets": {"tensorrt": {"file": _} as target} as targets} if "engines" not in target:
            return {**manifest, "targets": {**targets, "tensorrt": _with_engines(target)}}
    return manifest


def _with_engines(target: dict[str, Any]) -> dict[str, Any]:
    """There was one engine, its keys among the target's."""
    engine = {key: value for key, value in target.items() if key in Engine.model_fields}
    return {key: value for key, value in target.items() if key not in engine} | {"engines": [engine]}
