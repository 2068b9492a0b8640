"""The wheel, installed outside the repository beside its declared dependencies only, does the work; imports stay as lazy as promised."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "lamina", "schema", "compiler", "runtime", "specs")
_SUFFIXES = (".py", ".yaml", ".json", ".c", ".h", ".js", ".html", ".css")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("schema", "compiler", "runtime", "specs")
NEED_TORCH = re.compile(r"lamina\.compiler\.targets\.torch(\..+)?|lamina\.runtime\.(torch|pt2)")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source archive, from a copy so that nothing of an older build is in it."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", "."]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = (copy / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiler and the command line, without what other targets need."""
    return _install(wheel, tmp_path_factory.mktemp("installed"), [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["compile"]])


@pytest.fixture(scope="module")
def runtime_alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install lamina` brings, with no extra."""
    return _install(wheel, tmp_path_factory.mktemp("runtime"), PROJECT["dependencies"])


def _install(wheel: Path, target: Path, requirements: list[str]) -> Path:
    """The folder, which then holds the wheel and links to these distributions, and what they need, and nothing else."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(target), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name in _closure(requirements):
        distribution = metadata.distribution(name)
        for entry in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (target / entry).exists():
                (target / entry).symlink_to(Path(str(distribution.locate_file(entry))))
    return target


def _closure(requirements: list[str]) -> set[str]:
    """The names of all distributions that requirements bring."""
    pending, found = [*requirements], set()
    while pending:
        requirement = Requirement(pending.pop())
        if requirement.name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(requirement.name)
        pending += metadata.requires(requirement.name) or []
    return found


def python(code: str, installed: Path | None, folder: Path) -> str:
    """What code prints, run in another process: beside the installed wheel, or from the repository in this environment."""
    isolated = [] if installed is None else ["-S"]
    environment = {**os.environ, "PYTHONPATH": str(installed or ROOT)}
    done = subprocess.run([sys.executable, *isolated, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lamina(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the installed wheel."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-S", "-m", "lamina", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


# --- what is in it ---


def test_the_wheel_holds_every_source_as_a_real_file(wheel: Path) -> None:
    sources = {f"lamina/{p.relative_to(ROOT)}": p for package in PACKAGES for p in _files(ROOT / package)}
    inside = (*(ROOT / "lamina").glob("*.*"), *_files(ROOT / "lamina" / "cli"), *_files(ROOT / "lamina" / "export"))
    sources |= {str(p.relative_to(ROOT)): p for p in inside}
    with zipfile.ZipFile(wheel) as archive:
        held = {e.filename: e for e in archive.infolist() if ".dist-info/" not in e.filename}
        (kernels,) = held.keys() - sources.keys()
        assert re.fullmatch(r"lamina/runtime/native/_kernels\..*\.so", kernels)
        assert sources.keys() <= held.keys()
        for name, path in sources.items():
            assert (held[name].external_attr >> 16) & 0o170000 == 0o100000, f"{name} is not a regular file"
            assert archive.read(name) == path.read_bytes()
    assert {"lamina/specs/vision/vit.yaml", "lamina/specs/blocks/attention.yaml", "lamina/py.typed"} <= held.keys()


def _files(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.is_file() and p.suffix in _SUFFIXES)


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        text = archive.read(name).decode()
        assert any(n.endswith("/licenses/LICENSE") for n in archive.namelist())
    assert "License-Expression: Apache-2.0" in text
    assert (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[0] in text
    assert not re.search(r"^Requires-Dist: torch(?!.*extra)", text, re.MULTILINE)


# --- what it does, without torch ---


def test_every_module_is_imported_without_torch_and_extras(installed: Path, tmp_path: Path) -> None:
    code = """
import importlib, json, pkgutil, lamina
failed = {}
for module in pkgutil.walk_packages(lamina.__path__, "lamina.", onerror=lambda name: None):
    if module.name not in ("lamina.__main__", "lamina.runtime.native._kernels"):  # the latter is a library of ONNX Runtime's
        try:
            importlib.import_module(module.name)
        except Exception as error:
            failed[module.name] = f"{type(error).__name__}: {error}"
print(json.dumps([lamina.__file__, failed]))
"""
    place, failed = json.loads(python(code, installed, tmp_path))
    assert Path(place).is_relative_to(installed)
    serving = {name: why for name, why in failed.items() if name.startswith(("lamina.runtime.serve.", "lamina.runtime.ray."))}
    lacking = "fastapi|uvicorn|prometheus_client|starlette|grpc|tritonclient|ray|pyarrow"
    assert [why for why in serving.values() if not re.search(lacking, why)] == []
    assert "pip install lamina[serve]" in serving["lamina.runtime.serve.run"]
    assert "pip install lamina[ray]" in serving["lamina.runtime.ray.deploy"]
    assert "pip install lamina[ray]" in serving["lamina.runtime.ray.infer"]
    failed = {name: why for name, why in failed.items() if name not in serving}
    assert {name for name, why in failed.items() if "torch" not in why} == set()
    assert [name for name in failed if not NEED_TORCH.fullmatch(name)] == []


def test_the_whole_way_without_torch(installed: Path, tmp_path: Path) -> None:
    done = lamina(installed, tmp_path, "check", "resnet", "--variant", "r18")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok: resnet (r18): 11.7M parameters")
    assert "float32[N, 512" in lamina(installed, tmp_path, "show", "resnet", "--variant", "r18").stdout
    (tmp_path / "small.yaml").write_text(SMALL)
    done = lamina(installed, tmp_path, "compile", "small.yaml", "-o", "bundle", "--target", "onnx")
    assert (done.returncode, done.stderr) == (0, "")
    done = lamina(installed, tmp_path, "verify", "bundle")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("reference: onnx's reference evaluator, unfused\nok   onnx ")
    done = lamina(installed, tmp_path, "run", "bundle", "-i", "x=[[1, 2, 3, 4]]")
    assert np.array(json.loads(done.stdout)["y"]).shape == (1, 2)
    code = "import lamina, numpy; print(lamina.Session('bundle')(x=numpy.ones((3, 4), 'float32'))['y'].shape)"
    assert python(code, installed, tmp_path) == "(3, 2)\n"


def test_what_needs_torch_says_how_to_get_it(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    done = lamina(installed, tmp_path, "compile", "small.yaml", "-o", "bundle", "--target", "torch")
    assert (done.returncode, done.stdout) == (2, "")
    assert "PyTorch, which is not installed" in done.stderr
    assert "lamina[torch]" in done.stderr
    assert not (tmp_path / "bundle").exists()


def test_the_script(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([installed / "bin" / "lamina", "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", done.stdout)


# --- the runtime alone ---


def test_the_runtime_alone_runs_a_bundle(runtime_alone: Path, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    python("import lamina; lamina.compile(lamina.load('small.yaml'), 'bundle')", None, tmp_path)
    code = """
import sys, lamina, numpy
print(lamina.__file__, lamina.Session('bundle')(x=numpy.ones((3, 4), 'float32'))['y'].shape)
print(*sys.modules)
"""
    answer, loaded = python(code, runtime_alone, tmp_path).splitlines()
    assert answer == f"{runtime_alone}/lamina/__init__.py (3, 2)"
    assert not {"torch", "onnx", "ruamel", "typer", "tokenizers", "PIL", "lamina.compiler"} & set(loaded.split())


def test_what_the_runtime_alone_lacks_is_named(runtime_alone: Path, tmp_path: Path) -> None:
    done = lamina(runtime_alone, tmp_path, "check", "vit")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the command line needs typer, which is not installed; pip install lamina[compile]\n"
    code = "import lamina\ntry: lamina.load\nexcept ModuleNotFoundError as error: print(error)"
    said = python(code, runtime_alone, tmp_path)
    bfloat16 = "from lamina.runtime.dtypes import numpy_dtype\ntry: numpy_dtype('bfloat16')\nexcept Exception as error: print(error)"
    assert "pip install lamina[bfloat16]" in python(bfloat16, runtime_alone, tmp_path)
    assert re.fullmatch(r"lamina\.load needs \w+, which is not installed beside the runtime alone; pip install lamina\[compile\]\n", said)


def test_the_runtime_alone_is_small(runtime_alone: Path) -> None:
    """In all it is numpy and ONNX Runtime, whose sizes are theirs: `benchmarks/size.py` has the figure."""
    brought = {name: _size(name) for name in _closure(PROJECT["dependencies"])}
    assert {"numpy", "onnxruntime", "pydantic"} <= brought.keys()
    assert not {"torch", "onnx", "typer", "tokenizers", "pillow", "ruamel.yaml", "ml-dtypes"} & brought.keys()
    own = sum(p.stat().st_size for p in (runtime_alone / "lamina").rglob("*") if p.is_file())
    assert own + sum(size for name, size in brought.items() if name not in ("numpy", "onnxruntime")) < 25e6


def _size(name: str) -> int:
    """The bytes that a distribution installs, without bytecode."""
    distribution = metadata.distribution(name)
    files = [Path(str(distribution.locate_file(file))) for file in distribution.files or () if file.suffix != ".pyc"]
    return sum(path.stat().st_size for path in files if path.is_file())


SMALL = """\
lamina: 1
model: small
inputs: {x: "float32[N, 4]"}
dims: {N: {min: 1, opt: 2, max: 8}}
use: [ffn]
body:
  - residual: [{layer_norm: 1}, {mlp: {hidden: 8}}]
  - linear: 2
outputs: {y: "float32[N, 2]"}
"""


# --- what is not imported, torch or not ---


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import lamina", ["numpy", "pydantic", "lamina.compiler", "lamina.runtime"]),
        ("import lamina.runtime; lamina.Session", ["torch", "onnx", "onnx_ir", "lamina.compiler", "onnxruntime"]),
        ("run('--help')", ["pydantic", "numpy", "rich", "onnx", "onnxruntime", "torch", "ruamel"]),
        ("run('check', 'vit')", ["onnx", "torch", "onnx_ir", "sympy", "onnxruntime", "rich", "safetensors", "tokenizers", "PIL"]),
        ("run('show', 'minilm')", ["onnx", "torch", "onnx_ir", "sympy", "onnxruntime", "rich"]),
        ("run('list')", ["onnx", "torch", "onnxruntime", "rich"]),
        ("run('schema')", ["onnx", "torch", "onnx_ir", "sympy", "onnxruntime", "rich"]),
    ],
    ids=["package", "runtime", "help", "check", "show", "list", "schema"],
)
def test_imports_are_lazy(code: str, forbidden: list[str], tmp_path: Path) -> None:
    program = f"""
import contextlib, io, sys
def run(*arguments):
    from lamina.cli import main
    sys.argv = ["lamina", *arguments]
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as done:
            assert done.code == 0
{code}
print(*sys.modules)
"""
    loaded = set(python(program, None, tmp_path).split())
    assert "lamina" in loaded
    assert loaded & set(forbidden) == set()


def test_compiling_to_onnx_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    code = "import sys, lamina; lamina.compile(lamina.load('small.yaml'), 'bundle'); print(*sys.modules)"
    loaded = set(python(code, None, tmp_path).split())
    assert loaded & {"torch", "onnx_ir", "sympy"} == set()
