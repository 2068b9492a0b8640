"""The part of a bundle that an ONNX runtime reads, over the weights that it names and no others: a smaller bundle."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lamina.compiler.protos import all_graphs
from lamina.compiler.targets.onnx import EMBED_BYTES
from lamina.compiler.weights.tensor import FileTensor
from lamina.compiler.weights.write import write_external
from lamina.runtime.errors import BundleError
from lamina.runtime.integrity import check_hashes
from lamina.runtime.manifest import MANIFEST, FileRecord, Manifest, OnnxTarget, Targets

MODEL, WEIGHTS = "model.onnx", "weights.bin"
_EXTERNAL = 1  # onnx.TensorProto.EXTERNAL


def check_runnable(bundle: Path, manifest: Manifest, target: str) -> None:
    """BundleError unless the files of the target are as recorded and hold all that a call needs."""
    if manifest.weights.source == "none":
        raise BundleError(f"{bundle} was compiled without weights, so nothing can run it; compile it with weights")
    if adapted := next((tensor.name for tensor in manifest.inputs if tensor.is_adapter), None):
        raise BundleError(f"{bundle} has inputs that Lamina's own runtime feeds with adapters (`{adapted}`); compile it without --adapter")
    check_hashes(bundle, manifest.files, manifest.files_of(target))


def write_model(bundle: Path, manifest: Manifest, target: OnnxTarget, folder: Path) -> list[str]:
    """Write the target's file as model.onnx, and weights.bin with what it reads; returns the names of what was written.

    BundleError where the file is not a model, or points to anything but a place in the bundle's weights.
    """
    model = _read(bundle / target.file)
    external = [tensor for graph in all_graphs(model.graph) for tensor in graph.initializer if tensor.data_location == _EXTERNAL]
    outside = [tensor for tensor in external if not _embedded(tensor, bundle / WEIGHTS, *_place(tensor, bundle, manifest))]
    places = dict.fromkeys(_place(tensor, bundle, manifest) for tensor in outside)
    if places:
        data = [FileTensor(WEIGHTS, "uint8", (length,), bundle / WEIGHTS, offset) for offset, length in places]
        written = write_external(data, folder / WEIGHTS)
        moved = dict(zip(places, written.places, strict=True))
        for tensor in outside:
            _point(tensor, *moved[_place(tensor, bundle, manifest)])
    (folder / MODEL).write_bytes(model.SerializeToString(deterministic=True))
    return [MODEL, *([WEIGHTS] if places else [])]


def write_manifest(manifest: Manifest, targets: Targets, folder: Path, names: Sequence[str]) -> None:
    """Write the manifest of a folder that holds files of these names, of a bundle's targets these alone."""
    files = {name: _record(folder / name) for name in names}
    part = manifest.model_copy(update={"targets": targets, "files": files})
    (folder / MANIFEST).write_text(part.dump(), encoding="utf-8")


def copy_tokenizer(bundle: Path, manifest: Manifest, folder: Path) -> Iterator[str]:
    """Copy the bundle's tokenizer, if it has one; gives its name."""
    if manifest.tokenizer is not None:
        shutil.copyfile(bundle / manifest.tokenizer.file, folder / manifest.tokenizer.file)
        yield manifest.tokenizer.file


def _read(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise BundleError(f"{path} is not an ONNX file: {error}; compile the spec again") from error


def _place(tensor: Any, bundle: Path, manifest: Manifest) -> tuple[int, int]:
    """Offset and length in the bundle's weights."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    held = manifest.files[WEIGHTS].bytes if WEIGHTS in manifest.files else 0
    offset, length = (int(text) if (text := said.get(key, "")).isdecimal() else -1 for key in ("offset", "length"))
    if said.get("location") != WEIGHTS or min(offset, length) < 0 or offset + length > held:
        raise BundleError(f"{bundle} is damaged: the weight `{tensor.name}` is not in {WEIGHTS}; compile the spec again")
    return offset, length


def _embedded(tensor: Any, weights: Path, offset: int, length: int) -> bool:
    """Put a small tensor into the model, which onnxruntime-web wants of factors: its optimiser does not look outside for them."""
    if length > EMBED_BYTES:
        return False
    with weights.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    del tensor.external_data[:]
    tensor.data_location = 0
    return True


def _point(tensor: Any, offset: int, length: int) -> None:
    del tensor.external_data[:]
    for key, text in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=text)


def _record(path: Path) -> FileRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(sha256=digest, bytes=path.stat().st_size)
