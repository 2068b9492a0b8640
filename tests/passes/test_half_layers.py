"""Layers that multiply in 16 bits, against NumPy and PyTorch, by the graph that TensorRT is given."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lamina
from lamina.compiler.compile import weight_source
from lamina.compiler.elaborate import elaborate
from lamina.compiler.lower import halved, lower
from lamina.compiler.precision import layer_precisions
from lamina.compiler.targets.onnx import external_values
from lamina.compiler.targets.torch import run_values
from lamina.compiler.weights.derived import tensor_of
from lamina.runtime.manifest import read_manifest

SPEC = """
lamina: 1
model: m
inputs: {x: "float32[N, 8, 6, 6]"}
dims: {N: {min: 1, opt: 2, max: 8}}
body:
  - {conv: {out: 16, kernel: 3}, name: one}
  - {batch_norm: {}, name: norm}
  - flatten
  - {layer_norm: {}, name: ln}
  - {linear: 64, name: a}
  - gelu
  - u = linear(x, 16, bias=False, name='b')
  - modules: {recur: {linear: {out: 16, bias: false}}}
  - parts = reshape(u, [shape(u)[0], 4, 4])
  - scan: {over: 1, values: {v: parts}, carry: {h: u}, do: ["h = tanh(recur(h) + tile(v, [1, 4]))"], collect: {hs: h}}
outputs: {hs: "float32[N, 4, 16]"}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Any:
    (tmp_path / "m.yaml").write_text(SPEC + 'precision: {a.weight: float32, "*": float16}\n')
    return lamina.load(tmp_path / "m.yaml")


def graph_of(spec: Any) -> Any:
    model = elaborate(spec)
    return halved(lower(model.graph, "tensorrt"), layer_precisions(model.graph, spec.precision, "float32")), weight_source(
        spec, model, None, 0
    )


def test_layers_alone_are_narrow(spec: Any) -> None:
    """The one that is to stay stays; the weights are stored as they are multiplied, with the norm folded in before."""
    graph, source = graph_of(spec)
    tensors = {v.name: tensor_of(v, source.weights) for v in external_values([graph])}
    narrow = {name.rsplit(".", 3)[0] for name, tensor in tensors.items() if tensor.dtype == "float16"}
    assert {name.split(".")[0] for name in narrow} >= {"one", "b", "recur"}
    assert not any(name.startswith("a.") for name in narrow)
    kinds = Counter(node.op_type for node in graph.all_nodes() if node.op_type in ("Conv", "MatMul", "Gemm", "Cast"))
    assert (kinds["Conv"], kinds["Cast"]) == (1, 6)


def test_their_values_are_rounded_and_no_others(spec: Any) -> None:
    graph, source = graph_of(spec)
    exact = lower(elaborate(spec).graph, "tensorrt")
    x = np.random.default_rng(0).standard_normal((3, 8, 6, 6), np.float32)
    got, want = (run_values(g, source.weights, {"x": x}, ["hs"], wide=False)["hs"] for g in (graph, exact))
    error = np.abs(got - want).max() / np.abs(want).max()
    assert 1e-6 < error < 2e-3  # a step of float16 is 1e-3 of a number


@pytest.mark.parametrize(("dtype", "step"), [("float16", 2.0**-11), ("bfloat16", 2.0**-8)])
def test_a_layer_is_what_pytorch_makes_of_rounded_numbers(dtype: Any, step: float, tmp_path: Path) -> None:
    text = 'lamina: 1\nmodel: m\ninputs: {x: "float32[4, 64]"}\nbody: [{linear: 96, name: fc}]\noutputs: {y: "float32[4, 96]"}\n'
    (tmp_path / "m.yaml").write_text(text)
    spec = lamina.load(tmp_path / "m.yaml")
    model = elaborate(spec)
    source = weight_source(spec, model, None, 3)
    graph = halved(lower(model.graph, "tensorrt"), layer_precisions(model.graph, (), dtype))
    x = np.random.default_rng(0).standard_normal((4, 64), np.float32)
    got = run_values(graph, source.weights, {"x": x}, ["y"], wide=False)["y"]
    w, b = (torch.from_numpy(source.weights.get(p).numpy()) for p in sorted(model.graph.parameters(), key=lambda p: -p.rank))
    narrow = getattr(torch, dtype)
    want = torch.nn.functional.linear(torch.from_numpy(x).to(narrow).double(), w.to(narrow).double(), b.to(narrow).double()).numpy()
    assert got.dtype == np.float32
    assert np.abs(got - want).max() <= 4 * step * np.abs(want).max()
    assert np.abs(got - x.astype(np.float64) @ w.numpy().T.astype(np.float64) - b.numpy()).max() > step / 100


def test_an_engine_is_half_as_large(tmp_path: Path) -> None:
    """Built without a GPU; the manifest says what its layers are in."""
    text = 'lamina: 1\nmodel: m\ninputs: {x: "float32[4, 512]"}\nbody: [{linear: 1024}, gelu, {linear: 512}]\n'
    (tmp_path / "m.yaml").write_text(text + 'outputs: {y: "float32[4, 512]"}\n')
    spec = lamina.load(tmp_path / "m.yaml")
    sizes = {}
    for precision in ("float32", "float16"):
        folder = lamina.compile(spec, tmp_path / precision, ["tensorrt"], precision=precision)  # type: ignore[arg-type]
        target = read_manifest(folder).targets.tensorrt
        assert target is not None
        assert target.precision == precision
        sizes[precision] = (folder / target.engines[0].file).stat().st_size
    assert sizes["float16"] < 0.6 * sizes["float32"]
