"""A static folder that runs a bundle in a browser: a page, its modules, ONNX Runtime for the web, and the model."""

from __future__ import annotations

import shutil
from pathlib import Path

from lamina.export.npm import copy_libraries
from lamina.export.part import MODEL, check_runnable, copy_tokenizer, write_manifest, write_model
from lamina.export.place import replacing
from lamina.runtime.errors import BundleError
from lamina.runtime.manifest import MANIFEST, Manifest, OnnxTarget, Targets, read_manifest

TARGET, FOLDER = "onnx", "bundle"
SITE = Path(__file__).with_name("site")
_UNKNOWN = ("float16", "bfloat16")  # JavaScript has no array of them that every browser knows
_LARGEST = 2**31 - 1  # bytes: WebAssembly has 4 GiB, and weights lie in it twice while a session opens


def export_web(bundle: Path | str, out: Path | str, runtime: Path | None = None) -> Path:
    """Write the folder `out`, which any file server can serve; an older export there is replaced whole or not at all.

    It holds the part of the bundle that is standard ONNX, a bundle by itself. `runtime` is as in `copy_libraries`.
    Raises BundleError, MissingDependency, MachineError and OSError.
    """
    source, target = Path(bundle), Path(out)
    manifest = read_manifest(source)
    standard = _standard(source, manifest)
    check_runnable(source, manifest, TARGET)
    with replacing(target, f"{FOLDER}/{MANIFEST}") as folder:
        shutil.copytree(SITE, folder, dirs_exist_ok=True)
        copy_libraries(runtime, folder / "vendor")
        part = folder / FOLDER
        part.mkdir()
        names = [*write_model(source, manifest, standard, part), *copy_tokenizer(source, manifest, part)]
        write_manifest(manifest, Targets(onnx=standard.model_copy(update={"file": MODEL})), part, names)
    return target


def _standard(bundle: Path, manifest: Manifest) -> OnnxTarget:
    """The target that is standard ONNX, with inputs and outputs that a page can hold. BundleError."""
    found = manifest.targets.onnx
    if found is None:
        held = ", ".join(manifest.targets.built())
        raise BundleError(f"{bundle} holds {held}, and a browser runs the standard file; compile the spec with --target onnx")
    for tensor in (*manifest.inputs, *manifest.outputs):
        if tensor.dtype in _UNKNOWN:
            raise BundleError(f"`{tensor.name}: {tensor}` is of a type that JavaScript has no array for; cast it to float32 in the spec")
    for state in manifest.states:
        shape = manifest.input(state.past).shape
        if computed := next((size for size in shape if isinstance(size, str) and size not in manifest.dims), None):
            raise BundleError(f"the state `{state.name}` has the size {computed}, and a page makes states of numbers and dims alone")
    if (size := sum(manifest.files[name].bytes for name in manifest.files_of(TARGET))) > _LARGEST:
        raise BundleError(f"the files are {size / 2**30:.1f} GiB, and a browser takes 2 GiB at most")
    return found
