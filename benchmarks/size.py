"""The runtime alone in an environment of its own: what it takes on the disk, and how soon it answers.

    python -m benchmarks.size [--onnxruntime 1.27.0] [--runs 10]

Megabytes are of 10^6 bytes, without bytecode (`pip install --no-compile`) and without pip itself. The time is the processor's, of a whole
process that imports the runtime, opens a bundle of a small PoolFormer, and answers: the median of the runs, after one that writes bytecode.

ONNX Runtime's wheel holds its library twice: linked into the module that Python imports, and by itself for programs in other languages. The
last line is what is left without the latter, in which the bundle has answered too.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import lamina

ROOT = Path(__file__).parent.parent
BOUND_MB, BOUND_SECONDS = 120, 0.4
_PACKAGES, _FILES = ("lamina", "schema", "compiler", "runtime", "specs"), ("pyproject.toml", "README.md", "LICENSE")
_NOT_OURS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth", "wheel")
_ANSWER = """
import numpy
from lamina.runtime import Session
with Session({bundle!r}) as session:
    session(image=numpy.zeros((1, 3, 64, 64), numpy.float32))
"""


def installed(folder: Path, onnxruntime: str | None) -> Path:
    """The Python of a new environment that holds the runtime alone, built from a copy, so that nothing is left in the checkout."""
    venv.create(folder, with_pip=True)
    python, source = folder / "bin" / "python", folder / "source"
    for name in _PACKAGES:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in _FILES:
        shutil.copy(ROOT / name, source)
    pinned = [] if onnxruntime is None else [f"onnxruntime=={onnxruntime}"]
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", str(source), *pinned]
    subprocess.run(command, check=True)
    return python


def sizes(folder: Path) -> dict[str, float]:
    """Megabytes by what stands in the environment's site-packages."""
    (packages,) = folder.glob("lib/python*/site-packages")
    found = {}
    for entry in packages.iterdir():
        if not entry.name.startswith(_NOT_OURS):
            files = entry.rglob("*") if entry.is_dir() else [entry]
            found[entry.name] = sum(p.stat().st_size for p in files if p.is_file() and p.suffix != ".pyc") / 1e6
    return found


def without_library(folder: Path) -> float:
    """Megabytes of ONNX Runtime's library for other languages, which is removed."""
    found = [p for p in folder.glob("lib/python*/site-packages/onnxruntime/capi/libonnxruntime.so.*") if p.is_file()]
    size = sum(p.stat().st_size for p in found) / 1e6
    for path in found:
        path.unlink()
    return size


def seconds(python: Path, bundle: Path, runs: int) -> float:
    """The processor's time for a process from its start to its end, with one answer between."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    times = []
    for _ in range(runs + 1):
        before = _spent()
        subprocess.run([python, "-c", _ANSWER.format(bundle=str(bundle))], check=True, cwd=bundle.parent, env=environment)
        times.append(_spent() - before)
    return statistics.median(times[1:])


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Print both figures; 1 when one is over its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--onnxruntime", help="Its version, instead of the newest.")
    parser.add_argument("--runs", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = installed(Path(folder) / "venv", given.onnxruntime)
        bundle = lamina.compile(
            lamina.load(ROOT / "specs" / "vision" / "poolformer.yaml", small=True), Path(folder) / "bundle", ["onnxruntime"]
        )
        parts, took = sizes(Path(folder) / "venv"), seconds(python, bundle, given.runs)
        library = without_library(Path(folder) / "venv")
        seconds(python, bundle, 1)
    for name, size in sorted(parts.items(), key=lambda item: -item[1])[:6]:
        print(f"{name:<24} {size:6.1f} MB")
    print(f"{'in all':<24} {sum(parts.values()):6.1f} MB  (bound {BOUND_MB})\n{'first answer':<24} {took:6.3f} s   (bound {BOUND_SECONDS})")
    print(f"{'without libonnxruntime.so':<24} {sum(parts.values()) - library:6.1f} MB")
    return int(sum(parts.values()) > BOUND_MB or took > BOUND_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
