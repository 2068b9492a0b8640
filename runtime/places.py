"""Where what a bundle holds comes from: a line of the spec, and the path of a step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from lamina.runtime.errors import BundleError
from lamina.runtime.integrity import check_hashes
from lamina.runtime.manifest import read_manifest
from lamina.runtime.strict import Strict

ORIGINS = "origins.json"
_LAYER = re.compile(r"\[ONNX Layer: (.*?)\]")


class Place(Strict):
    """Where something comes from: `mine.yaml:12:5`, as seen from the folder of the spec that was compiled, and the path of the step."""

    source: str
    path: str


_TABLES = TypeAdapter(dict[str, dict[str, Place]])


def origins(bundle: Path | str, target: str) -> Mapping[str, Place]:
    """Places by name: of `torch` those of parameters and buffers, of `tensorrt` those of the nodes that its layers are made of.

    `layer_origins` finds the latter in what TensorRT says of a layer. In ONNX files each node has its own, as metadata.
    BundleError: the bundle is not whole, or has no such table.
    """
    folder = Path(bundle)
    manifest = read_manifest(folder)
    if ORIGINS not in manifest.files:
        raise BundleError(
            f"{folder} holds no {ORIGINS}: only `torch` and `tensorrt` have one; ONNX nodes say their `lamina.source` themselves"
        )
    check_hashes(folder, manifest.files, [ORIGINS])
    try:
        tables = _TABLES.validate_json((folder / ORIGINS).read_bytes())
    except ValidationError as error:
        raise BundleError(f"{folder / ORIGINS} is not valid; compile the spec again") from error
    if target not in tables:
        raise BundleError(f"{folder / ORIGINS} is of {', '.join(tables)}, not of `{target}`")
    return tables[target]


def layer_origins(layer: str, table: Mapping[str, Place]) -> tuple[Place, ...]:
    """The places that a layer of an engine comes from, each once.

    `layer` is what TensorRT's inspector says of it in detail: `[ONNX Layer: NAME]` for each node that the layer was fused of.
    """
    return tuple(dict.fromkeys(table[name] for name in _LAYER.findall(layer) if name in table))
