"""The page: what it may load and run, and what it is told of the models."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from serving import client, pooled, scale
from starlette.testclient import TestClient

from lamina.cli import main
from lamina.runtime.serve.app import application
from lamina.runtime.serve.settings import Settings

LINE = """
lamina: 1
model: line
inputs: {x: "float32[N, 3]"}
dims: {N: {min: 1, opt: 1, max: 2}}
body: [linear: 2]
outputs: {y: "float32[N, 2]"}
"""


def test_the_page_runs_its_own_script_and_loads_nothing(tmp_path: Path) -> None:
    with client(scale(tmp_path), token="s3cret") as server:
        answer = server.get("/")
        assert server.get("/page/models").status_code == 401
    assert answer.status_code == 200  # it shows nothing before the token is given
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        assert policy[f"{tag}-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert (policy["default-src"], policy["connect-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    markup = re.sub(r"<script>.*?</script>", "", answer.text, flags=re.DOTALL)
    assert not re.search(r"\b(?:src|href|style|on\w+)=", markup)
    assert re.findall(r"https?://[^\"]*", answer.text) == ["http://www.w3.org/2000/svg"]  # a name, not an address
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\b", answer.text)


def test_what_the_page_shows(tmp_path: Path) -> None:
    drawn: list[Path] = []

    def describe(folder: Path) -> str | None:
        drawn.append(folder)
        return None if folder.name == "scale" else "flowchart TD"

    chosen = Settings(poll=0, threads=1)
    with TestClient(application([scale(tmp_path), pooled(tmp_path)], chosen, describe), base_url="http://localhost") as server:
        text, plain = server.get("/page/models").json()
        assert (text["name"], text["does"], text["embedding"], text["joined"]) == (
            "pooled", ["infer", "embeddings"], "embedding", "up to 16 along N, padded",
        )  # fmt: skip
        assert plain["inputs"] == [{"name": "x", "dtype": "float32", "datatype": "FP32", "shape": ["N", 3], "below": None}]
        assert plain["dims"] == {"N": {"min": 1, "opt": 2, "max": 8, "multiple_of": 1}}
        for _ in range(2):
            assert server.get("/page/models/pooled/versions/1/drawing").json() == {"mermaid": "flowchart TD"}
            assert server.get("/page/models/scale/versions/1/drawing").json() == {"mermaid": None}
    assert len(drawn) == 2


def test_the_command_draws_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lamina.runtime.serve.run as run

    found: list[str | None] = []
    (tmp_path / "spec.yaml").write_text(LINE)
    monkeypatch.setattr(run, "serve", lambda given, settings, describe: found.extend([describe(given[0]), describe(given[0] / "none")]))
    monkeypatch.setattr(sys, "argv", ["lamina", "serve", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert found[0] is not None
    assert 'n0["linear' in found[0]
    assert found[1] is None


def test_serving_loads_no_framework() -> None:
    heavy = ("torch", "onnx", "onnx_ir", "lamina.compiler", "onnxruntime", "transformers")
    code = f"import sys, lamina.runtime.serve.run; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
