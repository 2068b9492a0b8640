"""`scan`, `map` and `iterate` against NumPy and PyTorch written by hand, at several lengths from one compiled file, on every target."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import lamina

Array = np.ndarray[Any, Any]
HEAD = """lamina: 1
model: loops
inputs: {x: "float32[N, T, 4]"}
dims: {N: {min: 1, opt: 2, max: 8}, T: {min: 1, opt: 5, max: 64}}
modules: {W: {linear: {out: 4, bias: false}}}
body:
"""

CASES = {
    "scan": """
- u = linear(x, 4)
- scan: {over: 1, values: {u_t: u}, carry: {h: "zeros([N, 4])"}, do: ["h = tanh(W(h) + u_t)"], collect: {y: h}}
- y + h[:, None]""",
    "map": """
- map: {over: 1, values: {v: x}, do: ["w = softmax(W(v))"], collect: {y: w}}
- y""",
    "map_last_axis": """
- map: {over: -1, values: {v: x}, do: ["w = v - mean(v, dims=-1, keepdim=True)"], collect: {y: w}}
- y * W(y)""",
    "iterate": """
- inject = linear(x, 4)
- iterate: {carry: {z: zeros_like(inject)}, do: ["z = tanh(0.2 * W(z) + inject)"], until: 1e-6, at_most: 80}
- z""",
    "iterate_bounded": """
- iterate: {carry: {z: x}, do: ["z = z * 0.5 + W(x)"], until: null, at_most: 3}
- z""",
    "nested": """
- map:
    over: 1
    values: {v: x}
    do:
      - iterate: {carry: {z: v}, do: ["z = cos(z)"], until: 1e-7, at_most: 100}
      - w = W(z) + v
    collect: {y: w}
- scan:
    over: 0
    values: {row: y}
    carry: {total: "zeros([T, 4])"}
    do:
      - scan: {over: 0, values: {r: row}, carry: {s: "zeros([4])"}, do: ["s = s + r"], collect: {c: s}}
      - total = total + c * shape(y)[0]
    collect: {out: total}
- out + y""",
}  # fmt: skip


def spec(folder: Path, name: str) -> lamina.ModelSpec:
    path = folder / f"{name}.yaml"
    path.write_text(HEAD + indent(CASES[name].strip("\n"), "  ") + '\noutputs: {result: "float32[N, T, 4]"}\n')
    return lamina.load(path)


def weights(module: torch.nn.Module) -> dict[str, Array]:
    return {k: v.detach().numpy().astype(np.float64) for k, v in module.named_parameters()}


def by_hand(name: str, x: Array, w: dict[str, Array]) -> Array:
    """The same in NumPy, with loops in Python and without any code of ours."""
    recur = w["W.weight"].T
    if name == "scan":
        u, h = x @ w["linear.weight"].T + w["linear.bias"], np.zeros((x.shape[0], 4))
        steps = [h := np.tanh(h @ recur + u[:, t]) for t in range(x.shape[1])]
        return np.stack(steps, 1) + h[:, None]
    if name == "map":
        e = np.exp(x @ recur)
        return e / e.sum(-1, keepdims=True)
    if name == "map_last_axis":
        y = x - x.mean(1, keepdims=True)
        return y * (y @ recur)
    if name == "iterate":
        inject, z = x @ w["linear.weight"].T + w["linear.bias"], np.zeros_like(x)
        for _ in range(500):
            z = np.tanh(0.2 * z @ recur + inject)
        return z
    if name == "iterate_bounded":
        return x / 8 + x @ recur * (1 + 0.5 + 0.25)
    z = np.full_like(x, 0.7390851332151607)  # the fixed point of the cosine
    y = z @ recur + x
    return np.cumsum(np.cumsum(y, 1), 0) * x.shape[0] + y


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> lamina.ModelSpec:
    return spec(tmp_path, request.param)


def test_every_target_computes_what_loops_by_hand_do(case: lamina.ModelSpec, tmp_path: Path) -> None:
    module = lamina.to_torch(case).eval()
    sessions = [lamina.Session(lamina.compile(case, tmp_path / target, targets=[target])) for target in ("onnx", "onnxruntime", "torch")]
    for n, t in ((2, 5), (1, 1), (3, 17)):
        x = np.random.default_rng(t).standard_normal((n, t, 4)).astype(np.float32)
        want = by_hand(case.path.stem, x.astype(np.float64), weights(module))
        with torch.no_grad():
            np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), want, atol=1e-6 * max(3, np.abs(want).max()))
        for session in sessions:
            np.testing.assert_allclose(session(x=x)["result"], want, atol=1e-6 * max(3, np.abs(want).max()))


def test_the_file_is_sound(case: lamina.ModelSpec, tmp_path: Path) -> None:
    onnx.checker.check_model(lamina.compile(case, tmp_path / "bundle") / "model.onnx", full_check=True)


def test_tensorrt_takes_it(case: lamina.ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    assert list((lamina.compile(case, tmp_path / "bundle", targets=["tensorrt"]) / "engines").iterdir())


def test_gradients_flow_through_every_pass(tmp_path: Path) -> None:
    module = lamina.to_torch(spec(tmp_path, "scan")).double()
    x = torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = dict(module.named_parameters())
    found = torch.autograd.grad(module(x).square().sum(), list(weights.values()))
    u, h, steps = torch.nn.functional.linear(x, weights["linear.weight"], weights["linear.bias"]), torch.zeros(2, 4).double(), []
    for t in range(6):
        h = torch.tanh(h @ weights["W.weight"].T + u[:, t])
        steps.append(h)
    want = torch.autograd.grad((torch.stack(steps, 1) + h[:, None]).square().sum(), list(weights.values()))
    for a, b in zip(found, want, strict=True):
        torch.testing.assert_close(a, b)


def test_a_body_computes_nothing_of_weights_alone(tmp_path: Path) -> None:
    """The transposed weight is made when weights are written, once."""
    path = tmp_path / "invariant.yaml"
    step = '- scan: {over: 1, values: {v: x}, carry: {h: "zeros([N, 4])"}, do: ["h = (h + v) @ exp(transpose(w, 0, 1))"], collect: {y: h}}'
    body = f"  - w = parameter([4, 4], init='normal(0.1)')\n  {step}\n  - y\n"
    path.write_text(HEAD.replace("modules: {W: {linear: {out: 4, bias: false}}}\n", "") + body + 'outputs: {z: "float32[N, T, 4]"}\n')
    model = onnx.load(lamina.compile(lamina.load(path), tmp_path / "bundle") / "model.onnx", load_external_data=False)
    (scan,) = (n for n in model.graph.node if n.op_type == "Scan")
    (body_attribute,) = (a for a in scan.attribute if a.name == "body")
    assert sorted(n.op_type for n in body_attribute.g.node if n.op_type != "Identity") == ["Add", "MatMul"]


def test_a_fixed_point_stops_when_nothing_changes(tmp_path: Path) -> None:
    """The bound would take minutes."""
    path = tmp_path / "stops.yaml"
    loop = """  - iterate:
        carry: {z: x, passes: "zeros([])"}
        do: ["z = z / 2", "passes = minimum(passes + 1, 10)"]
        until: 0.1
        at_most: 2000000000
"""
    path.write_text(
        HEAD.replace("modules: {W: {linear: {out: 4, bias: false}}}\n", "")
        + loop
        + "  - z\n"
        + 'outputs: {z: "float32[N, T, 4]", passes: "float32[]"}\n'
    )
    session = lamina.Session(lamina.compile(lamina.load(path), tmp_path / "bundle"))
    found = session(x=np.ones((1, 2, 4), np.float32))
    assert found["passes"] == 10
    np.testing.assert_array_equal(found["z"], 2.0**-11 * np.ones((1, 2, 4)))
