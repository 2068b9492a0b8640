"""Every op on each of its examples as a PyTorch module: the path that the `torch` target takes, its values, and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import op_harness as bench
import pytest
import torch

from lamina.compiler.graph import Graph, Parameter
from lamina.compiler.op import Example, paths_for
from lamina.compiler.targets.torch.module import LaminaModule
from lamina.schema.dims import FLOATS

EXAMPLES = [pytest.param(n, e, id=f"{n}-{i}") for n in bench.op_names() for i, e in enumerate(bench.op_class(n).examples)]


class _Given:
    """Weights by name."""

    def __init__(self, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
        self.arrays = arrays

    def get(self, parameter: Parameter) -> Any:
        return _Array(self.arrays[parameter.name])


class _Array:
    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def numpy(self) -> np.ndarray[Any, Any]:
        return self.array


def _module(case: bench.Case, model: bench.Model, arrays: dict[str, np.ndarray[Any, Any]]) -> tuple[LaminaModule, list[torch.Tensor]]:
    """The op alone as a module in float64, and its inputs."""
    inputs = tuple(v for v in model.inputs if not isinstance(v, Parameter))
    module = LaminaModule(Graph("example", inputs, model.outputs, model.nodes), _Given(arrays), wide=True)
    tensors = [torch.from_numpy(arrays[v.name]) for v in inputs]
    return module, [t.double() if t.is_floating_point() else t for t in tensors]


def _lowered(case: bench.Case) -> bench.Model:
    """What the target takes: the first path that does not decline."""
    return next(m for m in (bench.lower(case, path) for path in paths_for(type(case.op), "module")) if m is not None)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_module_agrees(name: str, example: Example) -> None:
    case = bench.case(bench.op_class(name), example)
    model = _lowered(case)
    for env in bench.POINTS[:2]:
        arrays = bench.feeds(case, model, env)
        module, inputs = _module(case, model, arrays)
        with torch.no_grad():
            got = module.eval()(*inputs)
        values = list(got.values()) if isinstance(got, dict) else [got]
        want = bench.expected(case, arrays, env)
        # float16 in a definition (a scale, a bias) is rounded before it is widened
        loose = max([example.rtol, *(bench.TOLERANCE[t.dtype] for t in case.inputs + case.outputs if t and t.dtype in FLOATS)])
        bench.close([v.detach().numpy() for v in values], want, loose, f"at {env}")


WEIGHTED = [p for p in EXAMPLES if any(w.trainable for w in bench.case(bench.op_class(p.values[0]), p.values[1]).weights.values())]


@pytest.mark.parametrize(("name", "example"), WEIGHTED)
def test_weights_are_trained(name: str, example: Example) -> None:
    case = bench.case(bench.op_class(name), example)
    model = _lowered(case)
    module, inputs = _module(case, model, bench.feeds(case, model, bench.POINTS[1]))
    torch.manual_seed(0)
    got = module.train()(*inputs)
    total = sum((v * torch.randn_like(v)).sum() for v in (got.values() if isinstance(got, dict) else [got]))
    total.backward()
    for weight in module.parameters():
        assert weight.grad is not None
        assert weight.grad.isfinite().all()
        assert weight.grad.abs().sum() > 0
