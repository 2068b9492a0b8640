"""The JavaScript libraries that a page needs: from a folder of modules, or fetched by npm in the versions of our lock file."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lamina.compiler.missing import MachineError, MissingDependency
from lamina.runtime.errors import BundleError

MODULES = "node_modules"
FILES: Mapping[str, str] = {  # what the page calls it: where it stands among the modules
    "ort.js": "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
    "ort.wasm": "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    "tokenizers.js": "@huggingface/tokenizers/dist/tokenizers.min.mjs",
    "tokenizers.LICENSE": "@huggingface/tokenizers/LICENSE",
}
LOCKED = Path(__file__).with_name("npm")  # what is fetched: each package by its version and hash
_TIMEOUT = 600.0  # seconds


def copy_libraries(runtime: Path | None, folder: Path) -> None:
    """Copy the libraries into a folder. `runtime` is one in which they were installed; without it npm fetches them into a temporary one.

    BundleError where `runtime` lacks one of them, MissingDependency without npm, MachineError where npm fails.
    """
    with _fetched() if runtime is None else _given(runtime) as modules:
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in FILES.items():
            shutil.copyfile(modules / source, folder / name)


@contextmanager
def _given(runtime: Path) -> Iterator[Path]:
    modules = runtime if runtime.name == MODULES else runtime / MODULES
    if lacking := [source for source in FILES.values() if not (modules / source).is_file()]:
        raise BundleError(
            f"{modules} holds no {', '.join(lacking)}; run `npm install onnxruntime-web @huggingface/tokenizers` in {runtime}"
        )
    yield modules


@contextmanager
def _fetched() -> Iterator[Path]:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependency("fetching onnxruntime-web", "npm", "install Node.js, or name a folder that has it with --runtime")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(LOCKED, folder, dirs_exist_ok=True)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise MachineError(f"npm was stopped: it was still busy after {_TIMEOUT:g} s") from error
        if done.returncode != 0:
            raise MachineError(f"npm could not fetch onnxruntime-web: {done.stderr.strip()[-2000:]}")
        yield Path(folder, MODULES)
