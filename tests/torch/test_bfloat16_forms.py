"""Fast paths that are for bfloat16 alone, which ONNX Runtime cannot be fed: run in PyTorch, against the op's reference in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import op_harness as bench
import pytest
import torch
from test_op_gradients import graph_of
from test_ops import BFLOAT16_ONLY

from lamina.compiler.targets.torch import to_module

CASES = [pytest.param(n, p, e, id=f"{n}-{p}-{i}") for n, p in sorted(BFLOAT16_ONLY) for i, e in enumerate(bench.op_class(n).examples)]


@pytest.mark.parametrize(("name", "path", "example"), CASES)
def test_agrees_in_bfloat16(name: str, path: str, example: bench.Example) -> None:
    narrow = replace(example, inputs=[text.replace("float32", "bfloat16") for text in example.inputs])
    case = bench.case(bench.op_class(name), narrow)
    model = bench.lower(case, path)
    assert model is not None
    graph, _ = graph_of(model)
    arrays = bench.feeds(case, model, bench.POINTS[1])
    tensors = [torch.from_numpy(np.asarray(arrays[v.name], np.float32)).bfloat16() for v in graph.inputs]
    got = to_module(graph).eval()(*tensors)
    wide = {k: np.asarray(a, np.float64) for k, a in arrays.items()}
    bench.close([got.detach().double().numpy()], bench.expected(case, wide, bench.POINTS[1]), 2e-2, "bfloat16")
