"""A product of what a loop runs over is one product before the loop, where that is the same; elsewhere it stays."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Graph
from lamina.compiler.lower import lower

HEAD = """lamina: 1
model: loops
inputs: {x: "float32[N, T, 4]"}
dims: {N: {min: 1, opt: 2, max: 8}, T: {min: 1, opt: 5, max: 64}}
body:
"""
LSTM = """  - modules: {cell: {lstm_cell: 4}}
  - {scan: {over: 1, values: {x_t: x}, carry: {h: "zeros([N, 4])", c: "zeros([N, 4])"}, do: ["h, c = cell(x_t, h, c)"], collect: {y: h}}}
  - y
outputs: {y: "float32[N, T, 4]"}
"""
STAYS = {
    "along its axis": "map: {over: 2, values: {v: 'expand(x[:, :1], [N, 3, 4])'}, do: ['w = linear(v, 3) + v'], collect: {y: w}}",
    "of what is carried": "scan: {over: 1, values: {v: x}, carry: {h: 'zeros([N, 4])'}, do: ['h = linear(h, 4) + v'], collect: {y: h}}",
    "of two slices": "map: {over: 1, values: {v: x}, do: ['w = v @ transpose(v, 0, 1) @ v'], collect: {y: w}}",
    "that is all": "map: {over: 1, values: {v: x}, do: ['w = linear(v, 4)'], collect: {y: w}}",
}


def graphs(tmp_path: Path, body: str) -> tuple[Graph, Graph]:
    """The graph for ONNX Runtime, and the body of its loop."""
    (tmp_path / "spec.yaml").write_text(HEAD + body)
    graph = lower(elaborate(lamina.load(tmp_path / "spec.yaml")).graph, "onnxruntime")
    (inner,) = (node.body for node in graph.nodes if node.body is not None)
    return graph, inner


def products(graph: Graph) -> int:
    counts = Counter(node.op_type for node in graph.nodes)
    return counts["MatMul"] + counts["Gemm"]


def test_a_cell_keeps_the_product_of_its_state_alone(tmp_path: Path) -> None:
    graph, inner = graphs(tmp_path, LSTM)
    assert (products(graph), products(inner)) == (1, 1)
    (loop,) = (node for node in graph.nodes if node.body is not None)
    assert loop.attributes["num_scan_inputs"] == 1, "nothing reads the slices any more"


@pytest.mark.parametrize("loop", STAYS.values(), ids=STAYS)
def test_stays(loop: str, tmp_path: Path) -> None:
    shape = "float32[N, 3, 4]" if "over: 2" in loop else "float32[N, T, 4]"
    graph, inner = graphs(tmp_path, f"  - {loop}\n  - y\noutputs: {{y: '{shape}'}}\n")
    assert products(graph) == 0
    assert products(inner) > 0


def test_computes_what_torch_s_lstm_does(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "spec.yaml").write_text(HEAD + LSTM)
    spec = lamina.load(tmp_path / "spec.yaml")
    weights = {name.rpartition(".")[2]: value for name, value in lamina.to_torch(spec).state_dict().items()}
    lstm = torch.nn.LSTM(4, 4, batch_first=True)
    lstm.load_state_dict({f"{name}_l0": value for name, value in weights.items()})
    folder = lamina.compile(spec, tmp_path / "bundle", targets=["onnx"])
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for n, t in ((1, 1), (2, 7), (3, 64)):
        x = np.random.default_rng(t).standard_normal((n, t, 4)).astype(np.float32)
        with torch.no_grad():
            want = lstm(torch.from_numpy(x))[0].numpy()
        np.testing.assert_allclose(session.run(None, {"x": x})[0], want, atol=1e-5)
