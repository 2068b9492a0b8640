"""Every command, as a user runs it: what it prints, where, and what it exits with."""

from __future__ import annotations

import hashlib
import html.parser
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from safetensors.numpy import save_file

import lamina
from lamina.cli import main
from lamina.compiler.json_schema import spec_schema
from lamina.compiler.op import signature
from lamina.compiler.registry import find_op, op_names
from lamina.runtime.manifest import read_manifest
from lamina.schema.diagnostics import Collector
from lamina.schema.tree import plain
from lamina.schema.yaml_text import parse

ROOT = Path(__file__).parent.parent
ZOO = sorted(p for p in (ROOT / "specs").glob("*/*.yaml") if p.parent.name != "blocks")
COMMANDS = (
    "bench", "check", "compile", "deploy", "doctor", "export", "generate", "list", "quantize", "run", "sample", "schema", "serve", "show",
    "verify",
)  # fmt: skip
SPEC = """\
lamina: 1
model: classifier
config: {hidden: 32, classes: 10}
variants: {small: {}, large: {hidden: 64}}
inputs: {image: "float32[N, 3, H, H]"}
dims: {N: {min: 1, opt: 4, max: 8}, H: {min: 8, opt: 16, max: 64, multiple_of: 8}}
body:
  - {conv: {out: hidden, kernel: 3, padding: 1}, name: stem}
  - repeat: 2
    name: blocks
    do:
      - residual: [group_norm: 4, conv: {out: hidden, kernel: 1}, gelu]
  - mean: {dims: [2, 3]}
  - {linear: classes, name: head}
outputs: {logits: "float32[N, classes]"}
"""
TABLE = """\
step                 op          output                parameters    MACs  memory
-------------------  ----------  --------------------  ----------  ------  ------
stem                 conv        float32[N, 32, H, H]         896  221.2k  32.8kB
blocks.0.group_norm  group_norm  float32[N, 32, H, H]          64          32.8kB
blocks.0.conv        conv        float32[N, 32, H, H]        1.1k  262.1k  32.8kB
blocks.0.gelu        gelu        float32[N, 32, H, H]                      32.8kB
blocks.0.add         add         float32[N, 32, H, H]                      32.8kB
blocks.1.group_norm  group_norm  float32[N, 32, H, H]          64          32.8kB
blocks.1.conv        conv        float32[N, 32, H, H]        1.1k  262.1k  32.8kB
blocks.1.gelu        gelu        float32[N, 32, H, H]                      32.8kB
blocks.1.add         add         float32[N, 32, H, H]                      32.8kB
mean                 mean        float32[N, 32]                              128B
head                 linear      float32[N, 10]               330     320     40B
-------------------  ----------  --------------------  ----------  ------  ------
classifier: 11 ops, 3.5k parameters (13.9kB), 745.8k MACs at N=1, H=16
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in this process, as its entry point does."""

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["lamina", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, out, err)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec and its bundle, made by the command in a process of its own, with stdout and stderr on pipes."""
    root = tmp_path_factory.mktemp("cli")
    (root / "spec.yaml").write_text(SPEC)
    done = process("compile", "spec.yaml", "-o", "bundle", cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "progress belongs on a terminal, not on a pipe"
    assert re.fullmatch(r"bundle: onnx, onnxruntime; \d+\.\d MB in 5 files\n", done.stdout)
    return root


@pytest.fixture
def spec(folder: Path) -> Path:
    return folder / "spec.yaml"


@pytest.fixture
def bundle(folder: Path) -> Path:
    return folder / "bundle"


def process(*arguments: str, cwd: Path = ROOT, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "lamina", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, **options)


# --- the whole ---


def test_help_names_every_command(cli: Any) -> None:
    done = cli("--help")
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.partition("Commands:\n")[2].splitlines() if line.strip()] == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Any, command: str) -> None:
    done = cli(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: lamina {command}")


def test_version(cli: Any) -> None:
    assert cli("--version") == Done(0, f"{lamina.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chek"], "No such command 'chek'"),
        (["check"], "Missing argument 'SPEC'"),
        (["check", "spec.yaml", "--fast"], "No such option"),
        (["check", "spec.yaml", "--set", "hidden"], "`hidden` is not KEY=VALUE"),
        (["check", "spec.yaml", "--target", "onx"], "'onx' is not one of 'onnx'"),
        (["show", "spec.yaml", "--target", "onx"], "'onx' is not one of 'onnx'"),
        (["show", "spec.yaml", "--format", "pdf"], "'pdf' is not one of 'table'"),
        (["show", "spec.yaml", "--at", "Q=1"], "there is no dim `Q`; the dims are N, H"),
        (["show", "spec.yaml", "--at", "H=12"], "`H` is 12, but it must be 8 to 64 and a multiple of 8"),
        (["show", "next_block", "--at", "P=3000,T=3000"], "`P` is 3000, but it must be at most -T + 5120, which is 2120 here"),
        (["show", "spec.yaml", "--at", "H=²"], "a size is a whole number"),
        (["compile", "spec.yaml"], "Missing option"),
        (["compile", "spec.yaml", "-o", "new", "--target", "onnx,tpu"], "`tpu` is not a target; they are onnx"),
        (["run", "bundle", "-i", "image"], "`image` is not NAME=VALUE"),
        (["bench", "bundle", "--repeats", "0"], "greater than or equal to 1"),
        (["bench", "bundle", "--prompt", "8"], "give --tokens"),
        (["bench", "bundle", "--encoder", "bundle"], "give --tokens"),
        (["bench", "bundle", "--tokens", "8", "--repeats", "3"], "without --at and --repeats"),
        (["compile", "vit", "-o", "out", "--target", "onnx", "--precision", "int4"], "a precision of the target onnxruntime"),
        (["check", "vit", "--target", "onnx", "--precision", "int4"], "a precision of the target onnxruntime"),
        (["compile", "vit", "-o", "out", "--precision", "float16"], "a precision of the target tensorrt"),
        (["check", "vit", "--target", "onnxruntime", "--precision", "bfloat16"], "a precision of the target tensorrt"),
        (["compile", "vit", "-o", "out", "--precision", "int3"], "is not a precision"),
        (["compile", "spec.yaml", "-o", "new", "--at", "N=1"], "give --tune"),
        (["compile", "spec.yaml", "-o", "new", "--tune", "--target", "onnx"], "it runs the target onnxruntime"),
        (["compile", "spec.yaml", "-o", "new", "--tune", "--weights", "none"], "it runs the target onnxruntime with weights"),
        (["bench"], "give a bundle, or several"),
        (["bench", "bundle", "--backend", "onxx"], "`onxx` is not a backend; they are auto, onnxruntime, onnx"),
        (["bench", "bundle", "bundle", "--tokens", "8"], "timed one at a time"),
        (["bench", "bundle", "--out", "new", "--url", "http://127.0.0.1:1"], "timed one at a time"),
        (["bench", "bundle", "--compare", "old.json", "new.json"], "leave the bundles out"),
        (["bench", "bundle", "--out", "none/new"], "none is not a folder to write to"),
    ],
)
def test_a_usage_error_exits_with_1(cli: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str) -> None:
    monkeypatch.chdir(folder)
    done = cli(*arguments)
    assert (done.code, done.out) == (1, "")
    assert said in " ".join(done.err.split())
    assert not (folder / "new").exists()


def test_a_bug_of_ours_exits_with_3(cli: Any, spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("an invariant does not hold")

    monkeypatch.setattr("lamina.compiler.elaborate.elaborate", fail)
    done = cli("check", spec)
    assert (done.code, done.out) == (3, "")
    assert "AssertionError: an invariant does not hold" in done.err
    assert "This is a bug of Lamina" in done.err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 2, "error: MemoryError"),
        (OSError(28, "No space left on device", "weights.bin"), 2, "error: the disk is full (weights.bin)"),
        (PermissionError(13, "Permission denied", "out"), 2, "Permission denied: 'out'"),
    ],
)
def test_what_the_machine_does(cli: Any, spec: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("lamina.compiler.elaborate.elaborate", fail)
    done = cli("check", spec)
    assert done.code == code
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_reader_that_goes_away_is_no_error(spec: Path) -> None:
    command = f"{sys.executable} -m lamina schema | head -c 10; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_progress_on_a_terminal(spec: Path, tmp_path: Path) -> None:
    reader, writer = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    command = [sys.executable, "-m", "lamina", "compile", str(spec), "-o", str(tmp_path / "out")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=writer) as running:
        os.close(writer)
        shown = b"".join(_until_closed(reader))
        running.communicate(timeout=60)
    os.close(reader)
    assert running.returncode == 0
    assert b"write model.ort.onnx" in shown


def _until_closed(reader: int) -> Iterator[bytes]:
    """What comes from a terminal until its other side is closed, which Linux says with an error."""
    while True:
        try:
            piece = os.read(reader, 4096)
        except OSError:
            return
        if not piece:
            return
        yield piece


# --- check ---


def test_check(cli: Any, spec: Path) -> None:
    assert cli("check", spec) == Done(0, "ok: classifier: 3.5k parameters, 11 ops\n", "")
    assert cli("check", spec, "--json") == Done(0, "[]\n", "")
    assert cli("check", spec, "--variant", "large").out.startswith("ok: classifier (large): 11.0k parameters")
    assert cli("check", spec, "--set", "hidden=8", "--set", "classes=2").out == "ok: classifier: 418 parameters, 11 ops\n"


@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_check_takes_a_name_of_the_zoo(cli: Any, path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("check", path.stem)
    assert done.code == 0
    assert done.out.startswith("ok: ")


@pytest.mark.parametrize("target", ["onnx", "onnxruntime", "tensorrt", "torch"])
def test_check_asks_a_target(cli: Any, spec: Path, target: str) -> None:
    assert cli("check", spec, "--target", target).code == 0


def test_calibration_and_accuracy(cli: Any, spec: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=np.random.default_rng(0).standard_normal((16, 3, 16, 16), np.float32))
    static = ("compile", spec, "-o", tmp_path / "b", "--precision", "int8-static")
    assert "give inputs of your own with --calibration" in cli(*static).err
    assert cli(*static, "--calibration", tmp_path / "x.npz", "--calibration-method", "percentile").code == 0
    said = cli("verify", tmp_path / "b", "--inputs", tmp_path / "x.npz")
    assert said.code == 0
    exact, _ = (line for line in said.out.splitlines() if "logits" in line)
    assert exact.endswith("cosine 1.00000 (least 1.00000), the same best score in 100.0%")
    found = json.loads(cli("verify", tmp_path / "b", "--inputs", tmp_path / "x.npz", "--json").out)["accuracy"]
    assert [(a["samples"], a["error"] < 1e-5, 1e-4 < a["error"] < 0.1) for a in found] == [(16, True, False), (16, False, True)]
    assert "no file or folder `nowhere`" in cli("verify", tmp_path / "b", "--inputs", "nowhere").err


def test_quantize(cli: Any, tmp_path: Path) -> None:
    """It prints a section, and writes the spec with it; the spec compiles."""
    text = 'lamina: 1\nmodel: m\ninputs: {x: "float32[N, 64]"}\ndims: {N: {min: 1, opt: 4, max: 8}}\nprecision: {"*": float32}\n'
    (tmp_path / "m.yaml").write_text(text + "body: [{linear: 64, name: a}, gelu, {linear: 64, name: b}]\noutputs: {y: 'float32[N, 64]'}\n")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).standard_normal((8, 64), np.float32))
    asked = ("quantize", tmp_path / "m.yaml", "--calibration", tmp_path / "x.npz")
    said = cli(*asked, "--size", "6kB", "-o", tmp_path / "mixed.yaml")
    assert said.code == 0, said.err
    assert re.fullmatch(r'precision:\n  "\*": int4\n# error \d.\de-02, .*; 0.0 MB, in float32 0.0 MB\n', said.out)
    assert dict(lamina.load(tmp_path / "mixed.yaml").precision[0]).items() >= {"pattern": "*", "precision": "int4"}.items()
    assert cli("compile", tmp_path / "mixed.yaml", "-o", tmp_path / "b").code == 0
    found = json.loads(cli(*asked, "--error", "0.03", "--among", "int8,int8-dynamic", "--json").out)
    assert found["measured"] <= 0.03
    assert {option["precision"] for option in found["options"]} == {"int8", "int8-dynamic"}
    assert "say how much may be lost with --error" in cli(*asked).err
    assert "`12XB` is not a size" in cli(*asked, "--size", "12XB").err
    assert "`int3` is not a precision" in cli(*asked, "--error", "0.1", "--among", "int3").err


def test_check_asks_for_a_precision(cli: Any, spec: Path) -> None:
    assert cli("check", spec, "--target", "onnxruntime", "--precision", "int4").code == 0


def test_check_shows_every_mistake_at_its_place(cli: Any, spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.yaml").write_text(SPEC.replace("- mean:", "- maen:").replace("{linear: classes", "{linear: clases"))
    done = cli("check", "wrong.yaml")
    assert (done.code, done.out) == (1, "")
    assert (
        done.err
        == """\
wrong.yaml:13:5: error[unknown-op]: there is no op, block or module named `maen`
  13 |   - maen: {dims: [2, 3]}
     |     ^^^^
  = help: did you mean `mean`?
wrong.yaml:14:14: error[undefined-name]: `clases` is not defined here
  14 |   - {linear: clases, name: head}
     |              ^^^^^^
  = help: did you mean `classes`?
"""
    )
    found = cli("check", "wrong.yaml", "--json")
    assert (found.code, found.err) == (1, "")
    assert [(d["code"], d["span"]["line"], d["hint"]) for d in json.loads(found.out)] == [
        ("unknown-op", 13, "did you mean `mean`?"),
        ("undefined-name", 14, "did you mean `classes`?"),
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("vitt", "error[file]: there is no file `vitt`, and no spec of that name in the zoo\n  = help: did you mean `vit`?"),
        ("absent.yaml", "error[file]: cannot read `absent.yaml`"),
        ("folder/absent", "error[file]: cannot read `folder/absent`"),
        (".", "error[file]: cannot read `.`: Is a directory"),
    ],
)
def test_check_of_nothing(cli: Any, given: str, said: str) -> None:
    done = cli("check", given)
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert json.loads(cli("check", given, "--json").out)[0]["code"] == "file"


def test_check_of_an_unknown_variant(cli: Any, spec: Path) -> None:
    done = cli("check", spec, "--variant", "lage")
    assert done.code == 1
    assert "error[unknown-variant]: there is no variant `lage`" in done.err
    assert "did you mean `large`?" in done.err


# --- show ---


def test_show_is_a_table(cli: Any, spec: Path) -> None:
    done = cli("show", spec, "--at", "N=1")
    assert (done.code, done.err) == (0, "")
    assert done.out == TABLE


def test_show_sums_up(cli: Any, spec: Path) -> None:
    whole = json.loads(cli("show", spec, "--format", "json").out)
    summed = json.loads(cli("show", spec, "--format", "json", "--depth", "1").out)
    assert [r["path"] for r in summed["rows"]] == ["stem", "blocks", "mean", "head"]
    assert summed["rows"][1]["op"] == "8 ops"
    for key in ("parameters", "macs", "bytes"):
        assert sum(r[key] for r in summed["rows"]) == sum(r[key] for r in whole["rows"])
    assert whole["parameters"] == sum(r["parameters"] for r in whole["rows"])
    assert whole["sizes"] == {"N": 4, "H": 16}


def test_show_operators(cli: Any, spec: Path) -> None:
    rows = json.loads(cli("show", spec, "--target", "onnx", "--format", "json").out)["rows"]
    assert {"Conv", "InstanceNormalization", "Gelu", "ReduceMean"} <= {r["op"] for r in rows}
    assert all(r["span"]["line"] > 0 for r in rows)


@pytest.mark.parametrize("extra", [[], ["--depth", "1"], ["--target", "onnx"]], ids=["ops", "groups", "operators"])
def test_show_is_a_diagram(cli: Any, spec: Path, extra: list[str]) -> None:
    first, *lines = cli("show", spec, "--format", "mermaid", *extra).out.splitlines()
    assert first == "flowchart TD"
    boxes = [m[1] for line in lines if (m := re.fullmatch(r'  (\w+)(?:\["[^"]+"\]|\(\["[^"]+"\]\))', line))]
    arrows = [m for line in lines if (m := re.fullmatch(r'  (\w+) -->(?:\|"([^"]+)"\|)? (\w+)', line))]
    assert len(boxes) + len(arrows) == len(lines)
    assert len(set(boxes)) == len(boxes)
    assert {end for m in arrows for end in (m[1], m[3])} == set(boxes)
    assert {"float32[N, 3, H, H]", "float32[N, 10]"} <= {m[2] for m in arrows}


def test_show_is_a_page(cli: Any, spec: Path) -> None:
    opened: list[str] = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            opened.extend([] if tag == "meta" else [tag])

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    page = cli("show", spec, "--format", "html").out
    Reader().feed(page)
    assert opened == []
    assert "<code>float32[N, 10]</code>" in page


# --- compile, verify, run, bench ---


def test_compile_replaces_a_bundle_and_nothing_else(cli: Any, spec: Path, tmp_path: Path) -> None:
    out, mine = tmp_path / "bundle", tmp_path / "mine"
    assert cli("compile", spec, "-o", out, "--target", "onnx").code == 0
    assert cli("compile", spec, "-o", out, "--target", "onnxruntime", "--variant", "small", "--seed", "7").code == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["variant"], manifest["weights"], [t for t, built in manifest["targets"].items() if built]) == (
        "small",
        {"source": "seed:7"},
        ["onnxruntime"],
    )
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    done = cli("compile", spec, "-o", mine)
    assert done.code == 1
    assert str(mine) in done.err
    assert [p.name for p in mine.iterdir()] == ["thesis.tex"]


def test_compile_without_weights(cli: Any, spec: Path, tmp_path: Path) -> None:
    assert cli("compile", spec, "-o", tmp_path / "bundle", "--weights", "none").code == 0
    assert not (tmp_path / "bundle" / "weights.bin").exists()


def test_compile_with_adapters_in_files(cli: Any, spec: Path, tmp_path: Path) -> None:
    """An adapter has the name that it is given, or that of its file."""
    file = tmp_path / "brief.safetensors"
    save_file({f"head.lora_{part}.weight": np.ones(shape, np.float32) for part, shape in (("A", (2, 32)), ("B", (10, 2)))}, file)
    done = cli("compile", spec, "-o", tmp_path / "bundle", "--target", "onnx", "--adapter", file, "--adapter", f"other={file}")
    assert (done.code, done.err) == (0, "")
    assert [adapter.name for adapter in read_manifest(tmp_path / "bundle").adapters] == ["brief", "other"]


@pytest.mark.parametrize("weights", ["absent.safetensors", "spec.yaml"])
def test_compile_with_weights_that_are_none(cli: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str) -> None:
    monkeypatch.chdir(folder)
    done = cli("compile", "spec.yaml", "-o", tmp_path / "bundle", "--weights", weights)
    assert done.code == 1
    assert weights in done.err
    assert [*tmp_path.iterdir()] == []


def test_verify(cli: Any, bundle: Path) -> None:
    done = cli("verify", bundle)
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"ok   onnx +H=8, N=1 +error \d\.\de-\d\d \(at most 1e-04\)", done.out.splitlines()[1])
    report = json.loads(cli("verify", bundle, "--json").out)
    assert report["passed"]
    assert {c["target"] for c in report["comparisons"]} == {"onnx", "onnxruntime"}
    assert len(report["comparisons"]) == 6


def test_verify_names_the_line_where_values_part(cli: Any, spec: Path, bundle: Path, tmp_path: Path) -> None:
    """The weights of another seed in the place of the bundle's own, hashes and all."""
    other, mixed = tmp_path / "other", tmp_path / "mixed"
    assert cli("compile", spec, "-o", other, "--seed", "1").code == 0
    shutil.copytree(bundle, mixed)
    shutil.copy(other / "weights.bin", mixed)
    manifest = json.loads((mixed / "manifest.json").read_text())
    manifest["files"]["weights.bin"]["sha256"] = hashlib.sha256((mixed / "weights.bin").read_bytes()).hexdigest()
    (mixed / "manifest.json").write_text(json.dumps(manifest))
    done = cli("verify", mixed)
    assert done.code == 1
    assert re.search(r"FAIL onnx .*\n +\S*spec.yaml:7:6: conv at stem, error", done.out)


@pytest.mark.parametrize("command", ["verify", "bench", "run"])
def test_a_damaged_bundle_is_refused(cli: Any, bundle: Path, tmp_path: Path, command: str) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    data = bytearray((damaged / "weights.bin").read_bytes())
    data[100] ^= 1
    (damaged / "weights.bin").write_bytes(data)
    done = cli(command, damaged)
    assert (done.code, done.out) == (1, "")
    assert "weights.bin does not have the SHA-256 that the manifest records" in done.err


@pytest.mark.parametrize("command", ["verify", "bench", "run"])
def test_what_is_not_a_bundle_is_refused(cli: Any, tmp_path: Path, command: str) -> None:
    done = cli(command, tmp_path)
    assert (done.code, done.out) == (1, "")
    assert "holds no manifest.json" in done.err


def test_run(cli: Any, bundle: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    wanted = lamina.Session(bundle)(image=image)["logits"]
    done = cli("run", bundle, "-i", f"image={tmp_path / 'image.npy'}")
    assert (done.code, done.err) == (0, "")
    np.testing.assert_array_equal(np.array(json.loads(done.out)["logits"], np.float32), wanted)
    for name in ("out.npz", "out.npy", "out.json"):
        assert cli("run", bundle, "-i", f"image={tmp_path / 'image.npy'}", "-o", tmp_path / name) == Done(0, "", "")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["logits"], wanted)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing was given for `image`"),
        (["-i", "picture=[1]"], "`picture`"),
        (["-i", "image=absent.npy"], "`absent.npy` is no file and no JSON"),
        (["-i", "image=[[[[1]]]]"], "`image`"),
        (["-t", "some text"], "tokenizer"),
        (["-i", "image=[1]", "--backend", "tensorrt"], "compile the spec with --target tensorrt"),
    ],
)
def test_run_on_what_will_not_do(cli: Any, bundle: Path, arguments: list[str], said: str) -> None:
    done = cli("run", bundle, *arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert said in done.err


def test_bench(cli: Any, bundle: Path) -> None:
    done = cli("bench", bundle, "--at", "N=2", "--repeats", "3", "--threads", "1")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(
        r"onnxruntime at H=16, N=2: median \d+\.\d\d ms \(10% \d+\.\d\d, 90% \d+\.\d\d\), \d+\.\d/s, \d+ MB at most\n", done.out
    )
    result = json.loads(cli("bench", bundle, "--repeats", "3", "--json").out)
    assert (result["target"], result["dims"], result["repeats"]) == ("onnxruntime", {"N": 4, "H": 16}, 3)
    assert 0 < result["p10_ms"] <= result["median_ms"] <= result["p90_ms"]


def test_bench_outside_the_range(cli: Any, bundle: Path) -> None:
    done = cli("bench", bundle, "--at", "N=9")
    assert (done.code, done.out) == (1, "")
    assert "N must be 1 to 8" in done.err


# --- list, doctor ---


def test_list(cli: Any) -> None:
    lines = cli("list").out.splitlines()
    assert sorted(line.split()[0] for line in lines if line[0] != " ") == sorted(p.stem for p in ZOO)
    start = next(i for i, line in enumerate(lines) if line.startswith("poolformer "))
    assert lines[start + 1].strip() == "s12, s24, s36, m36, m48"
    assert max(len(line) for line in lines if line[0] == " ") <= 80
    found = {e["file"]: e for e in json.loads(cli("list", "--json").out)}
    assert {Path(f).resolve() for f in found} == {p.resolve() for p in ZOO}
    assert next(e["variants"] for e in found.values() if e["model"] == "poolformer") == ["s12", "s24", "s36", "m36", "m48"]


def test_doctor(cli: Any) -> None:
    found = json.loads(cli("doctor", "--json").out)
    assert found["lamina"] == lamina.__version__
    assert found["numpy"] == np.__version__
    assert "CPUExecutionProvider" in found["providers"]
    assert found["kernels"] in ("AMX", "AVX-512 VNNI", "AVX2")
    assert f"numpy              {np.__version__}" in cli("doctor").out.splitlines()


# --- schema ---


@pytest.fixture(scope="module")
def schema() -> Any:
    return spec_schema()


def as_data(path: Path) -> Any:
    """A YAML file as plain data, as an editor sees it."""
    tree = parse(path.read_text(encoding="utf-8"), path.name, Collector())
    assert tree is not None
    return plain(tree)


def problems(schema: Any, data: Any) -> list[str]:
    return [e.message for e in Draft202012Validator(schema).iter_errors(data)]


def test_the_command_prints_the_schema(cli: Any, schema: Any) -> None:
    Draft202012Validator.check_schema(schema)
    assert json.loads(cli("schema").out) == schema


@pytest.mark.parametrize("path", [*(ROOT / "specs").glob("*/*.yaml"), *(ROOT / "tests" / "language").glob("*.yaml")], ids=lambda p: p.stem)
def test_the_schema_takes_what_is_right(schema: Any, path: Path) -> None:
    assert problems(schema, as_data(path)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kernel: 3", "kernal: 3"),
        ("kernel: 3", "kernel: 3.5"),
        ("kernel: 3", "kernel: {size: 3}"),
        ("kernel: 3", "bias: [1.5]"),
        ("repeat: 2", "repeat: 2.5"),
        ("multiple_of: 8", "multiple: 8"),
        ("float32[N, classes]", "float31[N, classes]"),
        ("float32[N, classes]", "float32"),
        ("model: classifier", "modle: classifier"),
        ("outputs: ", "output: "),
        ("body:", "bodies:"),
        ("lamina: 1", "lamina: 2"),
    ],
)
def test_the_schema_refuses_what_is_wrong(schema: Any, tmp_path: Path, old: str, new: str) -> None:
    assert old in SPEC
    (tmp_path / "spec.yaml").write_text(SPEC.replace(old, new))
    assert problems(schema, as_data(tmp_path / "spec.yaml"))
    (tmp_path / "spec.yaml").write_text(SPEC)
    assert problems(schema, as_data(tmp_path / "spec.yaml")) == []


def test_the_schema_is_never_stricter_than_the_checker(schema: Any) -> None:
    """Where the checker finds a mistake that depends on more than the form, the schema is silent."""
    silent = {"shape_residual", "output_wrong_size", "op_unknown", "name_undefined", "repeat_negative", "expression_lambda"}
    for name in silent:
        assert problems(schema, as_data(ROOT / "tests" / "broken" / f"{name}.yaml")) == [], name


@pytest.mark.parametrize("name", sorted(op_names()))
def test_the_schema_completes_every_op(schema: Any, name: str) -> None:
    op = find_op(name)
    assert op is not None
    definition = schema["$defs"][f"op.{name}"]
    named = definition["anyOf"][0]["properties"]
    assert definition["description"]
    assert {*signature(op).arguments, *signature(op).inputs} <= named.keys()
    for key, field in op.model_fields.items():
        assert named[key]["description"]
        assert "default" in named[key] or "; required" in named[key]["description"]
        assert ("default" in named[key]) == (not field.is_required())
    offered = [option.get("const") for option in schema["$defs"]["names"]["anyOf"]]
    assert name in offered


# --- sample ---


def test_sample_writes_what_python_samples(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "denoiser.yaml").write_text(
        'lamina: 1\nmodel: denoiser\ninputs: {x: "float32[N, 3]", time: "float32[N]", label: "float32[N]"}\n'
        'dims: {N: {min: 1, opt: 2, max: 4}}\nbody: ["tanh(x + label[:, None])"]\noutputs: {noise: "float32[N, 3]"}\n'
    )
    lamina.compile(lamina.load(tmp_path / "denoiser.yaml"), tmp_path / "bundle", targets=["onnx"])
    given = ["--input", "label=[1.0,2.0]", "--without", "label=0.0", "--guidance", "2", "--steps", "3", "--seed", "4"]
    done = cli("sample", str(tmp_path / "bundle"), *given, "-o", str(tmp_path / "samples.npy"))
    assert (done.code, done.out) == (0, "")
    assert re.fullmatch(r"2 samples by 3 steps in \d+\.\d\d s\n", done.err)
    want = lamina.sample(tmp_path / "bundle", {"label": [1.0, 2.0]}, {"label": 0.0}, guidance=2.0, steps=3, seed=4)
    np.testing.assert_array_equal(np.load(tmp_path / "samples.npy"), want)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "`steps` is 0"),
        (["--input", "y=1"], "`y` is not an input"),
        (["--noise", "nothing.npy"], "nothing.npy cannot be read as an array"),
    ],
)
def test_sample_says_what_will_not_do(cli: Any, bundle: Path, options: list[str], message: str) -> None:
    done = cli("sample", str(bundle), *options, "-o", "samples.npy")
    assert done.code == 1
    assert message in done.err
