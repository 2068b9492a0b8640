"""Sums of convolutions of one value become one convolution, which ONNX's evaluator finds equal to the sum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from passes_bench import N, assert_same, builder, draw, graph, named, op_types, value, weight
from safetensors.numpy import save_file

import lamina
from lamina.compiler.builder import Builder
from lamina.compiler.graph import Graph, Value
from lamina.compiler.passes.deduplicate import deduplicate
from lamina.compiler.passes.fold import fold
from lamina.compiler.passes.merge_parallel_convs import merge_parallel_convs

SIZE = 9
X, Y = value("x", N, 4, SIZE, SIZE), value("y", N, 4, SIZE, SIZE)
FEEDS = {"x": draw(2, 4, SIZE, SIZE)}


def conv(g: Builder, x: Value, name: str, kernel: tuple[int, int], bias: bool = True, **attributes: Any) -> Value:
    """Padded so that the size stays, unless attributes say otherwise."""
    dilation = attributes.get("dilations", (1, 1))
    pads = tuple(d * (k // 2) for d, k in zip(dilation, kernel, strict=True)) * 2
    filters = weight(f"{name}.weight", 4, 4 // attributes.get("group", 1), *kernel)
    offset = weight(f"{name}.bias", 4) if bias else None
    y: Value = g("Conv", x, filters, offset, **{"kernel_shape": kernel, "pads": pads, **attributes})
    return y


def norm(g: Builder, x: Value) -> Value:
    positive = g("Add", weight("variance", 4, init="uniform(0.5)"), g.constant(1.0, "float32"))
    y: Value = g("BatchNormalization", x, weight("gamma", 4), weight("beta", 4), weight("mean", 4), positive, epsilon=0.1)
    return y


def merged(before: Graph) -> Graph:
    return deduplicate(fold(merge_parallel_convs(fold(before))))


@pytest.mark.parametrize("groups", [1, 2])
def test_three_branches_of_training_become_one_convolution(groups: int) -> None:
    g = builder()
    both = g("Add", conv(g, X, "a", (3, 3), group=groups), conv(g, X, "b", (1, 1), bias=False, group=groups))
    before = graph(g, [X], [named(g, "Add", both, norm(g, X), result=Y)])
    after = merged(before)
    assert op_types(after) == {"Conv": 1}
    assert after.nodes[0].outputs == before.outputs
    assert_same(fold(before), after, FEEDS, rtol=1e-5)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (((5, 5), {}), ((3, 3), {})),
        (((3, 1), {}), ((3, 3), {})),
        (((5, 5), {"dilations": (2, 2)}), ((3, 3), {"dilations": (2, 2)})),
        (((3, 3), {"dilations": (2, 2)}), ((1, 1), {})),
        (((3, 3), {"pads": (2, 2, 0, 0)}), ((1, 1), {"pads": (0, 0, 0, 0)})),
        (((5, 3), {"strides": (2, 2), "pads": (2, 1, 2, 1)}), ((3, 3), {"strides": (2, 2)})),
    ],
)  # fmt: skip
def test_kernels_that_lie_in_one_another(first: Any, second: Any) -> None:
    g = builder()
    size = 5 if "strides" in first[1] else SIZE
    result = value("y", N, 4, size, size)
    a, b = (conv(g, X, name, kernel, **attributes) for name, (kernel, attributes) in (("a", first), ("b", second)))
    before = graph(g, [X], [named(g, "Add", a, b, result=result)])
    after = merged(before)
    assert op_types(after) == {"Conv": 1}
    assert_same(before, after, FEEDS, rtol=1e-5)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (((3, 3), {"group": 2}), ((1, 1), {})),
        (((3, 1), {}), ((1, 3), {})),
        (((3, 3), {"dilations": (2, 2)}), ((3, 3), {})),
        (((3, 3), {"pads": (0, 0, 2, 2)}), ((3, 3), {})),
    ],
)  # fmt: skip
def test_kernels_that_do_not_stay_apart(first: Any, second: Any) -> None:
    g = builder()
    a, b = (conv(g, X, name, kernel, **attributes) for name, (kernel, attributes) in (("a", first), ("b", second)))
    assert op_types(merged(graph(g, [X], [named(g, "Add", a, b, result=Y)]))) == {"Conv": 2, "Add": 1}


def test_what_others_read_stays() -> None:
    g = builder()
    shared = conv(g, X, "a", (3, 3))
    before = graph(g, [X], [named(g, "Add", shared, conv(g, X, "b", (1, 1)), result=Y), shared])
    assert op_types(merged(before)) == {"Conv": 2, "Add": 1}


SPEC = """lamina: 1
model: branches
inputs: {x: "float32[N, 4, H, W]"}
dims: {N: {min: 1, max: 8}, H: {min: 4, max: 64}, W: {min: 4, max: 64}}
blocks:
  trained:
    summary: three branches to train, one convolution to run
    body:
      - branches:
          - [{conv: {out: 4, kernel: 3, padding: 1, bias: false}}, batch_norm]
          - [{conv: {out: 4, kernel: 1, bias: false}}, batch_norm]
          - [batch_norm]
        merge: add
      - relu
body: [trained, trained]
outputs: {y: "float32[N, 4, H, W]"}
"""


def test_a_spec_with_branches_to_train(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    module = lamina.to_torch(lamina.load(path))
    with torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            tensor.copy_(torch.rand_like(tensor) + (0.5 if name.endswith("var") else 0.0))
    save_file({k: v.detach().numpy() for k, v in module.state_dict().items()}, tmp_path / "trained.safetensors")
    bundle = lamina.compile(lamina.load(path), tmp_path / "bundle", weights=tmp_path / "trained.safetensors")
    operators = [node.op_type for node in onnx.load(bundle / "model.onnx", load_external_data=False).graph.node]
    assert operators == ["Conv", "Relu", "Conv", "Relu"]
    for shape in ((1, 4, 4, 7), (3, 4, 16, 9)):
        x = draw(*shape)
        with torch.no_grad():
            want = module.eval()(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(lamina.Session(bundle)(x=x)["y"], want, rtol=1e-5, atol=1e-5 * np.abs(want).max())
