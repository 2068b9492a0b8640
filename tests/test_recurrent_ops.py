"""What examples cannot say of the ops with state: long sequences, extreme decays, other people's kernels, one step after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import op_harness as bench
import pytest
import torch

from lamina.compiler.graph import Graph
from lamina.compiler.op import Example, paths_for
from lamina.compiler.targets.torch.module import LaminaModule

Array = np.ndarray[Any, Any]
LOWEST = float(np.finfo(np.float32).min)
DECAYS = {
    "none": lambda rng, shape: np.zeros(shape),
    "mild": lambda rng, shape: -0.1 * rng.random(shape),
    "strong": lambda rng, shape: -6 * rng.random(shape),
    "all at once": lambda rng, shape: np.full(shape, -1e4),
    "lowest": lambda rng, shape: np.full(shape, LOWEST),
    "mixed": lambda rng, shape: rng.choice([0.0, -1e-3, -0.5, -30.0, -1e4, LOWEST], shape),
    "rare": lambda rng, shape: np.where(rng.random(shape) < 0.01, LOWEST, -0.01),
}


def run(name: str, path: str, arguments: dict[str, Any], *arrays: Array | None) -> list[Array]:
    """One path of an op, with as many steps as the inputs have, in ONNX Runtime; or in PyTorch where it is PyTorch's alone."""
    inputs = ["" if a is None else f"{a.dtype}[{', '.join(map(str, a.shape))}]" for a in arrays]
    case = bench.case(bench.op_class(name), Example(arguments, inputs))
    model = bench.lower(case, path)
    assert model is not None
    feeds = {f"x{i}": a for i, a in enumerate(arrays) if a is not None}
    if path in paths_for(bench.op_class(name), "onnxruntime"):
        return bench.session(bench.proto(model, case.outputs)).run(None, feeds)
    module = LaminaModule(Graph("example", model.inputs, model.outputs, model.nodes), {})  # type: ignore[arg-type]
    return [v.numpy() for v in module(*map(torch.from_numpy, feeds.values())).values()]


def heads(steps: int, decay: str, channels: int | None = None) -> list[Array]:
    """q, k, v [2, 3, steps, 8 and 5] and a decay for each head or each of so many channels."""
    rng = np.random.default_rng(steps)
    q, k, v = (rng.standard_normal((2, 3, steps, d)) for d in (8, 8, 5))
    shape = (2, 3, steps) if channels is None else (2, 3, steps, channels)
    return [a.astype(np.float32) for a in (q, k, v, DECAYS[decay](rng, shape))]


@pytest.mark.parametrize("path", ["define", "by_chunks", "side_by_side"])
@pytest.mark.parametrize("channels", [None, 8])
@pytest.mark.parametrize(("steps", "decay"), [(200, d) for d in DECAYS] + [(n, "mild") for n in (1, 3, 63, 64, 65, 128)] + [(33, "mixed")])
def test_linear_attention_of_any_decay(path: str, channels: int | None, steps: int, decay: str) -> None:
    arrays = heads(steps, decay, channels)
    state = np.random.default_rng(1).standard_normal((2, 3, 8, 5)).astype(np.float32)
    got = run("linear_attention", path, {}, *arrays, None, state)
    wide = [torch.from_numpy(a.astype(np.float64)) for a in (*arrays, state)]
    want = bench.references()["linear_attention"](*wide[:4], None, wide[4], scale=None)
    bench.close(got, [w.numpy() for w in want], 1e-5, f"{decay}, {steps} steps")
