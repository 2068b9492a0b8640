"""`lamina export --web`: what is written and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import onnx
import pytest
from web_harness import stand_ins

import lamina
from lamina.cli import main
from lamina.compiler.missing import MissingDependency
from lamina.export.web import export_web
from lamina.runtime import BundleError

SPEC = """\
lamina: 1
model: attentive
inputs: {x: "float32[N, 8, 64]"}
dims: {N: {min: 1, opt: 2, max: 4}}
use: [attention]
body:
  - self_attention: 4
  - {linear: 3, name: head}
outputs: {y: "float32[N, 8, 3]"}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose weight file holds more than its standard target reads: ONNX Runtime's has them in 8 bits, too."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "spec.yaml").write_text(SPEC)
    return lamina.compile(lamina.load(folder / "spec.yaml"), folder / "bundle", precision="int8")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_ins(tmp_path_factory.mktemp("modules"))


def export(bundle: Path, out: Path, modules: Path) -> Path:
    return export_web(bundle, out, modules)


def test_the_model_is_a_bundle_by_itself(bundle: Path, modules: Path, tmp_path: Path) -> None:
    site = export(bundle, tmp_path / "site", modules)
    assert {p.name for p in site.iterdir()} >= {"index.html", "page.js", "model.js", "style.css", "bundle", "vendor"}
    assert {p.name for p in (site / "bundle").iterdir()} == {"manifest.json", "model.onnx", "weights.bin"}
    x = np.random.default_rng(0).standard_normal((3, 8, 64), dtype=np.float32)
    with lamina.Session(bundle, "onnx") as before, lamina.Session(site / "bundle") as after:
        np.testing.assert_array_equal(after(x=x)["y"], before(x=x)["y"])


def test_only_the_weights_that_are_read_are_there(bundle: Path, modules: Path, tmp_path: Path) -> None:
    site = export(bundle, tmp_path / "site", modules)
    model = onnx.load(site / "bundle" / "model.onnx", load_external_data=False)
    lengths = [int(e.value) for t in model.graph.initializer for e in t.external_data if e.key == "length"]
    size = (site / "bundle" / "weights.bin").stat().st_size
    assert sum(lengths) <= size <= sum(lengths) + 64 * len(lengths)
    assert min(lengths) > 1024  # a browser's optimiser does not look outside for factors
    assert size < 0.9 * (bundle / "weights.bin").stat().st_size


def test_an_older_export_is_replaced_and_nothing_else(bundle: Path, modules: Path, tmp_path: Path) -> None:
    site = export(bundle, tmp_path / "site", modules)
    (site / "older").touch()
    export(bundle, site, modules)
    assert not (site / "older").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(BundleError, match="was not exported; it was not touched"):
        export(bundle, tmp_path / "mine", modules)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "site"]
    with pytest.raises(BundleError, match="was not exported"):
        export(bundle, bundle, modules)


def test_what_fails_leaves_the_older_one(bundle: Path, modules: Path, tmp_path: Path) -> None:
    site = export(bundle, tmp_path / "site", modules)
    with pytest.raises(BundleError, match=r"holds no onnxruntime-web/dist/.*; run `npm install onnxruntime-web"):
        export(bundle, site, tmp_path / "nothing")
    assert (site / "index.html").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_without_npm_it_says_what_to_install(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependency, match=r"install Node\.js, or name a folder that has it with --runtime"):
        export_web(bundle, tmp_path / "site")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": {"onnxruntime": {"file": "model.onnx", "opset": 21}}}, "holds onnxruntime, and a browser runs the standard file"),
        ({"weights": {"source": "none"}}, "compiled without weights"),
        ({"outputs": [{"name": "y", "dtype": "float16", "shape": ["N", 3]}]}, r"`y: float16\[N, 3\]` is of a type that JavaScript has no"),
        (
            {"inputs": [{"name": n, "dtype": "float32", "shape": [2, "N"]} for n in ("x", "adapter.w.a")], "dims": {"N": {}}},
            "adapter",
        ),
    ],
    ids=["standard", "weights", "float16", "adapters"],
)
def test_bundles_that_a_page_cannot_run(changes: dict[str, Any], message: str, modules: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=message):
        export(handmade.write(tmp_path / "bundle", **changes), tmp_path / "site", modules)
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize(
    ("location", "offset", "length"),
    [("../secret", 0, 8), ("manifest.json", 0, 8), ("weights.bin", 0, 10**9), ("weights.bin", 1, 8), ("weights.bin", -1, 8)],
)
def test_weights_from_elsewhere_are_refused(location: str, offset: int, length: int, modules: Path, tmp_path: Path) -> None:
    proto = onnx.load_from_string(handmade.scale())
    tensor = proto.graph.initializer.add(name="w", data_type=1, dims=[2], data_location=1)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    (tmp_path / "secret").write_bytes(bytes(8))
    folder = handmade.write(tmp_path / "bundle", {"model.onnx": proto.SerializeToString(), "weights.bin": bytes(8)})
    with pytest.raises(BundleError, match=r"the weight `w` is not in weights\.bin"):
        export(folder, tmp_path / "site", modules)


def test_the_command(
    bundle: Path, modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr("sys.argv", ["lamina", "export", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    out = tmp_path / "site"
    code, printed, said = run("--web", str(bundle), "-o", str(out), "--runtime", str(modules))
    assert (code, said) == (0, "")
    assert re.fullmatch(rf"{out}: 0\.\d MB in \d+ files\n", printed)
    code, printed, said = run(str(bundle), "-o", str(out))
    assert (code, printed) == (1, "")
    assert "say for what" in said


def test_a_damaged_bundle_is_not_exported(bundle: Path, modules: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(bundle, tmp_path / "bundle")
    data = bytearray((damaged / "weights.bin").read_bytes())
    data[100] ^= 1
    (damaged / "weights.bin").write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256"):
        export(damaged, tmp_path / "site", modules)


def test_what_npm_fetches_is_pinned() -> None:
    """Every package by version and hash, from no registry in particular."""
    folder = Path(lamina.__file__).parent / "export" / "npm"
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert locked[""]["dependencies"] == wanted
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all(entry["integrity"].startswith("sha512-") and "resolved" not in entry for name, entry in locked.items() if name)
