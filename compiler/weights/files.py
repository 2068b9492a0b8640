"""Which files a checkpoint is made of: one file, a folder, or shards that an index lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from lamina.compiler.weights.gguf import read_gguf
from lamina.compiler.weights.safetensors import MAX_HEADER, damaged, load_json, read_safetensors
from lamina.compiler.weights.tensor import Tensor
from lamina.compiler.weights.torch_file import read_torch

Reader = Callable[[Path], dict[str, Tensor]]
INDEX = ".index.json"
READERS: dict[str, Reader] = {
    ".safetensors": read_safetensors,
    ".gguf": read_gguf,
    ".pt": read_torch,
    ".pth": read_torch,
    ".bin": read_torch,
}
ALONE = (".safetensors", ".gguf")  # endings of a file that a folder need only hold one of
PREFERRED = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint, by key, nothing loaded yet. Raises Fault, placed at the file that is wrong."""
    path = weights_file(path)
    if path.name.endswith(INDEX):
        return _sharded(path)
    if path.suffix not in READERS:
        raise damaged(path, f"has the ending `{path.suffix}`, which is not one of {', '.join((*READERS, INDEX))}")
    if not path.is_file():
        raise damaged(path, "does not exist")
    return READERS[path.suffix](path)


def weights_file(path: Path) -> Path:
    """The file that a checkpoint is read from: itself, or what a folder holds. Raises Fault."""
    return _in_folder(path) if path.is_dir() else path


def _in_folder(folder: Path) -> Path:
    for name in PREFERRED:
        if (folder / name).is_file():
            return folder / name
    names = [p.name for p in folder.iterdir()]
    found = next(filter(None, ([name for name in names if name.endswith(ending)] for ending in ALONE)), [])
    if len(found) == 1:
        return folder / found[0]
    what = f"holds {len(found)} {found[0].rpartition('.')[2]} files and no index" if found else "holds no weights"
    hint = f"name one file; a folder is read from {', '.join(PREFERRED)}, or its only {' or '.join(ALONE)} file"
    raise damaged(folder, f"folder {what}", hint)


def _sharded(index: Path) -> dict[str, Tensor]:
    weight_map = _weight_map(index)
    shards = {name: read_tensors(index.parent / _plain(index, name)) for name in sorted(set(weight_map.values()))}
    absent = sorted(key for key, name in weight_map.items() if key not in shards[name])
    if absent:
        raise damaged(index, f"index places `{absent[0]}` in {weight_map[absent[0]]}, which does not hold it")
    return {key: shards[name][key] for key, name in weight_map.items()}


def _weight_map(index: Path) -> dict[str, str]:
    try:
        with index.open("rb") as file:
            text = file.read(MAX_HEADER + 1)
    except OSError as error:
        raise damaged(index, f"cannot be read: {error.strerror}") from error
    found: Any = load_json(index, text).get("weight_map") if len(text) <= MAX_HEADER else None
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found.values()):
        raise damaged(index, "index has no `weight_map` from keys to file names")
    return found


def _plain(index: Path, name: str) -> str:
    """A shard's name: a file beside the index, so that no checkpoint reaches for other files of the machine."""
    if PurePosixPath(name).name != name or PureWindowsPath(name).name != name or PurePosixPath(name).suffix not in READERS:
        raise damaged(index, f"index names the file `{name}`, which is not that of a weights file beside it")
    return name
