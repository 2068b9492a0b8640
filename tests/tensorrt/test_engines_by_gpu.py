"""`lamina compile --sm`: an engine for each kind of GPU, named by what it fits; the runtime takes the fitting one, or says why none is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lamina
from lamina.cli import main
from lamina.runtime import BackendMissing, cuda, trt
from lamina.runtime.manifest import Engine, TensorRTTarget, read_manifest

SPEC = """\
lamina: 1
model: rows
inputs: {x: "float32[N, 8]"}
dims: {N: {min: 1, opt: 2, max: 4}}
body: [linear: 4]
outputs: {y: "float32[N, 4]"}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows.yaml").write_text(SPEC)
    return tmp_path / "rows.yaml"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["lamina", "compile", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def target(*engines: tuple[str, ...]) -> TensorRTTarget:
    found = tuple(Engine(file=f"engines/{index}.engine", compute_capabilities=fits, key=str(index)) for index, fits in enumerate(engines))
    return TensorRTTarget(library="tensorrt_rtx", version="1", engines=found)


class Gpu:
    """The driver's device, as far as a choice asks."""

    def __init__(self, capability: str) -> None:
        self.capability = capability


def test_an_engine_for_each(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, spec, "-o", tmp_path / "bundle", "--target", "tensorrt", "--sm", "86,120", "--sm", "8.6") == 0
    manifest = read_manifest(tmp_path / "bundle")
    assert manifest.targets.tensorrt is not None
    first, second = manifest.targets.tensorrt.engines
    assert [(e.file, e.compute_capabilities) for e in (first, second)] == [
        ("engines/sm86.engine", ("8.6",)),
        ("engines/sm120.engine", ("12.0",)),
    ]
    assert first.key != second.key
    assert sorted(p.name for p in (tmp_path / "bundle" / "engines").iterdir()) == ["sm120.engine", "sm86.engine"]
    assert "engines/sm86.engine" not in manifest.files_of("tensorrt", second)
    assert manifest.files_of("tensorrt", second) == tuple(n for n in manifest.files_of("tensorrt") if n != first.file)


def test_without_it_one_fits_all(spec: Path, tmp_path: Path) -> None:
    built = read_manifest(lamina.compile(lamina.load(spec), tmp_path / "bundle", ["tensorrt"])).targets.tensorrt
    assert built is not None
    assert [(e.file, e.compute_capabilities) for e in built.engines] == [("engines/portable.engine", ())]


@pytest.mark.parametrize(
    ("engines", "capability", "chosen"),
    [
        ([("8.6",), ("8.9",)], "8.9", "1"),
        ([(), ("8.9",)], "8.9", "1"),
        ([(), ("8.9",)], "9.0", "0"),
        ([("8.6", "8.9"), ("12.0",)], "8.9", "0"),
        ([("8.6",), ("12.0",)], "8.9", None),
        ([("8.6",)], "12.1", None),
    ],
)
def test_the_choice(engines: list[tuple[str, ...]], capability: str, chosen: str | None) -> None:
    found = trt.fitting(target(*engines), capability)
    assert (found and found.key) == chosen


def test_where_none_fits_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "Device", lambda: Gpu("9.0"))
    with pytest.raises(BackendMissing) as caught:
        trt.engine_here(target(("8.6",), ("12.0",)))
    said = (
        "the bundle's engines were built for compute capability 8.6, 12.0 and this GPU has 9.0; compile the spec with --sm 90, or without"
    )
    assert str(caught.value) == said
    assert trt.engine_here(target(("8.6",), ())).key == "1"


def test_what_an_earlier_compiler_wrote(spec: Path, tmp_path: Path) -> None:
    """One engine, its keys among the target's."""
    import json

    bundle = lamina.compile(lamina.load(spec), tmp_path / "bundle", ["tensorrt"])
    manifest = json.loads((bundle / "manifest.json").read_text())
    written: dict[str, Any] = manifest["targets"]["tensorrt"]
    (engine,) = written.pop("engines")
    manifest["targets"]["tensorrt"] = written | engine
    before = read_manifest(bundle)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert read_manifest(bundle) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "tensorrt", "--sm", "ampere"], "`ampere` is not a compute capability; write 86 for 8.6, or 120 for 12.0"),
        (["--sm", "86"], "engines are of the target tensorrt; add it to --target"),
    ],
)
def test_refusals(
    arguments: list[str], message: str, spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, spec, "-o", tmp_path / "bundle", *arguments) == 1
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_kind_that_the_library_does_not_know(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, spec, "-o", tmp_path / "bundle", "--target", "tensorrt", "--sm", "35") == 2
    assert "builds for compute capabilities" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
