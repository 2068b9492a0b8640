"""Convolutions of 3 by 3 become our kernel, in ONNX Runtime's file alone, and compute what the definition does."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import lamina
from lamina.verify import verify

CONV = "conv: {out: 16, kernel: 3, padding: 1"


def nodes(folder: Path, body: str, target: str = "onnxruntime", filters: int = 16) -> list[onnx.NodeProto]:
    """Of the file of a model of images of 16 channels, which is verified; without the mean at its end."""
    text = 'lamina: 1\nmodel: m\ninputs: {x: "float32[N, 16, H, 20]"}\ndims: {N: {min: 1, opt: 2, max: 4}, H: {min: 3, opt: 13, max: 40}}\n'
    body = body.removesuffix("]") + ", {mean: {dims: [2, 3]}}]"
    (folder / "m.yaml").write_text(f'{text}body: {body}\noutputs: {{y: "float32[N, {filters}]"}}\n')
    bundle = lamina.compile(lamina.load(folder / "m.yaml"), folder / "bundle", [target])
    assert verify(bundle).passed
    file = "model.ort.onnx" if target == "onnxruntime" else "model.onnx"
    return [node for node in onnx.load(bundle / file, load_external_data=False).graph.node if node.op_type != "ReduceMean"]


def kernels(found: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    return [node for node in found if node.domain == "lamina.native"]


@pytest.mark.parametrize("instructions", ["", "none"])
@pytest.mark.parametrize("rest", ["", ", bias: false"])
def test_is_the_same_function(rest: str, instructions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_INSTRUCTIONS", instructions)
    found = nodes(
        tmp_path, f"[{{{CONV}{rest}}}}}, {{batch_norm: {{}}}}, relu, {{residual: [{{{CONV}{rest}}}}}]}}, relu, {{{CONV}{rest}}}}}]"
    )
    assert [len(node.input) for node in kernels(found)] == [3, 3, 3]
    assert {node.op_type for node in found} == {"Conv", "Relu", "Add"}


@pytest.mark.parametrize(
    ("other", "filters"),
    [
        ("{conv: {out: 16, kernel: 3, padding: 1, stride: 2}}", 16),
        ("{conv: {out: 16, kernel: 3, padding: 2, dilation: 2}}", 16),
        ("{conv: {out: 16, kernel: 3, groups: 16}}", 16),
        ("{conv: {out: 16, kernel: 5, padding: 2}}", 16),
        ("{conv: {out: 8, kernel: 3}}", 8),
    ],
)
def test_others_stay(other: str, filters: int, tmp_path: Path) -> None:
    assert not kernels(nodes(tmp_path, f"[{other}]", filters=filters))


def test_so_do_those_of_other_files(tmp_path: Path) -> None:
    assert not kernels(nodes(tmp_path, f"[{{{CONV}}}}}]", "onnx"))
