"""Every spec of the zoo, in its small size, as an exported page runs it: Chromium gives what Python does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from web_harness import chromium, install_modules, needs_browser, served

import lamina
from lamina.export.web import export_web
from lamina.runtime.dtypes import Array
from lamina.runtime.samples import sample_inputs

ZOO = sorted(p for p in (Path(__file__).parents[2] / "specs").glob("*/*.yaml") if p.parent.name != "blocks")
CLOSE = 1e-5  # of the largest magnitude
ANSWER = """
const [site, inputs, done] = arguments;
async function answer() {
  const { Model } = await import(`${site}/model.js`);
  const ort = await import(`${site}/vendor/ort.js`);
  ort.env.wasm.wasmPaths = { wasm: `${site}/vendor/ort.wasm` };
  ort.env.wasm.numThreads = 1;
  const read = async (name) => new Uint8Array(await (await fetch(`${site}/bundle/${name}`)).arrayBuffer());
  const outputs = await (await Model.open(read, { ort })).run(inputs);
  const plain = (data) => Array.from(data, (value) => (Number.isFinite(Number(value)) ? Number(value) : null));
  return Object.fromEntries(Object.entries(outputs).map(([name, { dims, data }]) => [name, { dims, data: plain(data) }]));
}
answer().then((outputs) => done({ outputs }), (error) => done({ error: error.message }));
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_modules(tmp_path_factory.mktemp("npm") / "modules")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        driver.set_script_timeout(120)
        yield driver


def finite(array: Array) -> Array:
    """With NaN for what is not finite: JSON has neither."""
    numbers = array.astype(np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan)


@needs_browser
@pytest.mark.sweep
@pytest.mark.parametrize("path", ZOO, ids=lambda p: p.stem)
def test_a_page_answers_as_python(path: Path, modules: Path, browser: Any, tmp_path: Path) -> None:
    bundle = lamina.compile(lamina.load(path, small=True), tmp_path / "bundle", ["onnx"])
    export_web(bundle, tmp_path / "site", modules)
    with lamina.Session(bundle) as session:
        dims = session.manifest.dims
        inputs = sample_inputs(session.manifest, {"N": 1} if "N" in dims and 1 in dims["N"] else {})
        expected = {name: finite(array) for name, array in session.run(inputs).items()}
    with served(tmp_path) as address:
        browser.get(f"{address}/site/")
        given = {name: {"dims": list(array.shape), "data": array.ravel().tolist()} for name, array in inputs.items()}
        found = browser.execute_async_script(ANSWER, f"{address}/site", given)
    assert "error" not in found, found
    for name, array in expected.items():
        answer = found["outputs"][name]
        numbers = np.array([np.nan if value is None else value for value in answer["data"]], np.float64).reshape(answer["dims"])
        largest = np.nanmax(np.abs(array), initial=1.0)
        np.testing.assert_allclose(numbers, array, rtol=0, atol=CLOSE * largest, err_msg=name)
