"""Products with large fixed matrices become our kernel, in ONNX Runtime's file alone, and compute what the definition does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest

import lamina
from lamina.verify import verify


def operators(folder: Path, body: str, target: str = "onnxruntime") -> Counter[str]:
    """Of the file of a model of [N, 256], which is verified."""
    text = 'lamina: 1\nmodel: m\ninputs: {x: "float32[N, 256]"}\ndims: {N: {min: 1, opt: 40, max: 64}}\n'
    (folder / "m.yaml").write_text(f'{text}body: {body}\noutputs: {{y: "float32[N, 256]"}}\n')
    bundle = lamina.compile(lamina.load(folder / "m.yaml"), folder / "bundle", [target])
    assert verify(bundle).passed
    file = "model.ort.onnx" if target == "onnxruntime" else "model.onnx"
    return Counter(node.op_type for node in onnx.load(bundle / file, load_external_data=False).graph.node)


@pytest.mark.parametrize("instructions", ["", "avx512", "none"])
@pytest.mark.parametrize("bias", ["true", "false"])
def test_is_the_same_function(bias: str, instructions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_INSTRUCTIONS", instructions)
    found = operators(tmp_path, f"[{{linear: {{out: 256, bias: {bias}}}}}, gelu, {{linear: 256}}]")
    assert found["Linear"] == 2
    assert not found.keys() & {"MatMul", "Gemm", "Add"}


def test_small_ones_and_other_files_stay(tmp_path: Path) -> None:
    assert not operators(tmp_path, "[{linear: 64}, gelu, {linear: 256}]")["Linear"]
    assert not operators(tmp_path, "[{linear: 256}]", "onnx")["Linear"]
