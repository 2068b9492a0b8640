"""Do two machines make the same bytes? The zoo is compiled by two processes that differ in all that can be set on one machine.

python tests/trust/reproduce.py [--torch 6] [--tensorrt 40] [--only NAME,NAME] [--dry]

One is given few instructions (NumPy, OpenBLAS, oneDNN, PyTorch, our kernels and the C library are told of none but the oldest), one core,
one thread, no random addresses, and an empty environment; the other all of them, another hash seed, home, user, locale, time zone, mask
of permissions, a copy of Lamina in another folder, whose files were made in another order, and takes the specs in another order.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "zoo"))

import numpy as np
from numpy._core import _multiarray_umath as numpy_core
from trust import record
from zoo import SPECS, files

from lamina.compiler.elaborate import elaborate
from lamina.schema.spec import ModelSpec

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = "what libraries compute"
PLAIN = ("onnx", "onnxruntime")
NO_FMA = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX2_Usable,-FMA,-FMA_Usable,-FMA4,-AVX512F,-ERMS"
Job = tuple[str, list[str]]  # a spec of the zoo, and its targets
NOTE = (
    "The specs are the zoo's, small, with weights drawn at random. One machine has the oldest instructions alone (NumPy, OpenBLAS, oneDNN, "
    "PyTorch and the C library are told of no others), one core and thread, fixed addresses and the locale C; the other all instructions, "
    "another hash seed, home, user, time zone and mask, and a copy of Lamina in another folder, made in another order; it takes the specs "
    "in the opposite order."
)
Found = dict[str, dict[str, str]]  # of each spec, the digest of each file, or what it was refused with


@dataclass(frozen=True)
class Machine:
    """What a process believes of the machine that it runs on."""

    name: str
    package: Path
    environment: Mapping[str, str]
    wrapper: Sequence[str]
    mask: int

    def start(self, jobs: Sequence[Job], folder: Path) -> subprocess.Popen[str]:
        """Compile these specs there."""
        home = folder / "home"
        home.mkdir(parents=True)
        given = folder / "jobs.json"
        given.write_text(json.dumps(list(jobs)))
        environment = {
            "PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home), "LAMINA_CACHE": str(home / "engines"),
            "PYTHONPATH": str(self.package), "PYTHONDONTWRITEBYTECODE": "1", **self.environment,
        }  # fmt: skip
        command = [*self.wrapper, sys.executable, str(Path(__file__).resolve()), "--jobs", str(given)]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, umask=self.mask)


def machines(folder: Path) -> tuple[Machine, Machine]:
    """An old one, and another."""
    disabled = " ".join(name for name in numpy_core.__cpu_dispatch__ if numpy_core.__cpu_features__[name])
    old = {
        "PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "UTC0", "USER": "old",
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": disabled,
        "ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "GLIBC_TUNABLES": NO_FMA,
        "LAMINA_INSTRUCTIONS": "none",
    }  # fmt: skip
    other = {
        "PYTHONHASHSEED": "4242", "LC_ALL": "C.UTF-8", "TZ": "Pacific/Apia", "USER": "other", "LOGNAME": "other", "OMP_NUM_THREADS": "4",
        "EDITOR": "none",
    }  # fmt: skip
    fixed = [shutil.which("setarch") or "", "-R"]
    wrapper = fixed if fixed[0] and not subprocess.run([*fixed, "true"], capture_output=True, check=False).returncode else []
    one = [shutil.which("taskset") or "", "-c", str(min(os.sched_getaffinity(0)))]
    return (
        Machine("old", ROOT, old, [*wrapper, *(one if one[0] else [])], 0o022),
        Machine("other", copied(folder / "a copy" / "of it"), other, [], 0o077),
    )


def copied(folder: Path) -> Path:
    """Lamina's package in a folder of its own: links become files, as in a wheel, and the last is made first."""
    source = ROOT / "lamina"
    files = [path for place, _, names in os.walk(source, followlinks=True) for path in (Path(place) / name for name in names)]
    for path in sorted(files, reverse=True):
        if "__pycache__" not in path.parts:
            target = folder / "lamina" / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return folder


def work(jobs: Sequence[Job]) -> Iterator[tuple[str, dict[str, str]]]:
    """What each job makes, in the process of a machine: by file its digest, or what is said to refuse it."""
    import lamina
    from lamina.schema.diagnostics import SpecError

    yield LIBRARIES, _libraries()
    for name, targets in jobs:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            bundle = Path(folder) / "bundle"
            try:
                spec, weights = _drawn(Path(lamina.__file__).parent / "specs" / name, Path(folder))
                lamina.compile(spec, bundle, targets, weights)
                made = {path.relative_to(bundle).as_posix(): _digest(path) for path in bundle.rglob("*") if path.is_file()}
            except SpecError as refusal:
                made = {"refused": "; ".join(f"{d.span.line}:{d.span.column} {d.message}" for d in refusal.diagnostics)}
        yield _title(name, targets), made


def _libraries() -> dict[str, str]:
    """What others' functions make of some numbers here: it shows whether two machines differ."""
    x = np.random.default_rng(0).standard_normal((300, 300))
    made = {
        "NumPy's exp": np.exp(x),
        "NumPy's sin of float32": np.sin(x.astype(np.float32)),
        "NumPy's product of matrices": x @ x,
        "Python's power": np.array([n**-0.5 for n in range(1, 20_000)]),
    }
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in made.items()}


def _drawn(path: Path, folder: Path) -> tuple[ModelSpec, Path | None]:
    """A small spec in its first variant, and weights of which none is zero or one, so that what is folded has digits."""
    from safetensors.numpy import save_file
    from zoo import Lively, variants

    spec = replace(next(variants(path)), small=True).spec()
    parameters = elaborate(spec).graph.parameters()
    save_file({p.name: Lively().get(p).numpy().copy() for p in parameters}, folder / "own.safetensors")
    return spec, folder / "own.safetensors" if parameters else None


def _title(name: str, targets: Sequence[str]) -> str:
    return f"{name} for {' and '.join(targets)}"


def _digest(path: Path) -> str:
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}, {path.stat().st_size} bytes"


def jobs_of(names: Sequence[str], torch: int, tensorrt: int) -> list[Job]:
    """Every spec for ONNX and ONNX Runtime, and each so many-th for the others."""
    found = [(name, list(PLAIN)) for name in names]
    found += [(name, ["torch"]) for name in names[::torch]]
    return found + [(name, ["tensorrt"]) for name in names[tensorrt // 2 :: tensorrt]]


def compared(jobs: Sequence[Job], folder: Path) -> tuple[Found, Found]:
    """What both machines make, at the same time."""
    first, second = (
        machine.start(order, folder / machine.name) for machine, order in zip(machines(folder), (jobs, jobs[::-1]), strict=True)
    )
    found = []
    for process in (first, second):
        said, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"a machine stopped with {process.returncode}")
        found.append(dict(json.loads(line) for line in said.splitlines() if line.startswith("[")))
    return found[0], found[1]


def differences(first: Found, second: Found) -> list[str]:
    """Each file that is not the same, or not there."""
    return [
        f"{title}: {file}: {first[title].get(file)} and {second[title].get(file)}"
        for title in first
        for file in sorted({*first[title], *second[title]})
        if first[title].get(file) != second[title].get(file)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", type=int, default=6, help="every so many-th spec for PyTorch, too")
    parser.add_argument("--tensorrt", type=int, default=40, help="the same for TensorRT")
    parser.add_argument("--only", help="these specs, as `vision/vit`")
    parser.add_argument("--dry", action="store_true", help="keep no figures")
    parser.add_argument("--jobs", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.jobs:
        for line in work(json.loads(Path(options.jobs).read_text())):
            print(json.dumps(line), flush=True)
        return 0
    start = time.monotonic()
    names = [f"{name}.yaml" for name in options.only.split(",")] if options.only else [str(path.relative_to(SPECS)) for path in files()]
    jobs = jobs_of(names, options.torch, options.tensorrt)
    with tempfile.TemporaryDirectory() as folder:
        first, second = compared(jobs, Path(folder))
    own = first.pop(LIBRARIES), second.pop(LIBRARIES)
    found = differences(first, second)
    print("\n".join(found))
    made = {title: files for title, files in first.items() if "refused" not in files}
    figures = {
        **{
            f"bundles for {what}": sum(title.endswith(f" for {what}") for title in made)
            for what in (" and ".join(PLAIN), "torch", "tensorrt")
        },
        "refused, by both in the same words": len(first) - len(made),
        "files compared": sum(map(len, made.values())),
        "bytes compared": sum(int(digest.split()[1]) for files in made.values() for digest in files.values()),
        "files that differ": len(found),
        "what libraries themselves compute otherwise there": ", ".join(name for name in own[0] if own[0][name] != own[1][name])
        or "nothing",
        "seconds in all": round(time.monotonic() - start),
    }
    print(figures)
    if not options.dry:
        command = f"python tests/trust/reproduce.py --torch {options.torch} --tensorrt {options.tensorrt}"
        record("reproduce", "Two machines", command, figures, NOTE)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
