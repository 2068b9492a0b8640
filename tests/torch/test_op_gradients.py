"""Every op of the language, each example, each PyTorch form: values and gradients against its reference in float64."""

from __future__ import annotations

from typing import Any

import op_harness as bench
import pytest
import torch

from lamina.compiler.graph import Graph, Parameter, Value
from lamina.compiler.op import Example, paths_for, signature
from lamina.compiler.targets.torch import to_module
from lamina.compiler.targets.torch.arrays import from_numpy

CASES = [
    pytest.param(name, path, example, id=f"{name}-{path}-{i}")
    for name in bench.op_names()
    for path in paths_for(bench.op_class(name), "module")
    for i, example in enumerate(bench.op_class(name).examples)
    if path == "define" or bench.lower(bench.case(bench.op_class(name), example, double=True), path) is not None  # else it declines
]
# A query that may attend to nothing takes the mean of the values: the definition has a gradient there, the reference none.
# PyTorch has no derivative of floor_divide. A step's surrogate is no part of its definition.
NO_GRADIENT = ("attention-define-5", "attention-repeated-5", "floor_divide-", "heaviside-define-", "heaviside-flat-")


def graph_of(model: bench.Model) -> tuple[Graph, list[Value]]:
    """Weights are inputs here, so that both sides take them the same way."""
    values = {v: Value(v.name, v.type) if isinstance(v, Parameter) else v for v in model.inputs}

    def swap(value: Any) -> Any:
        return values.get(value, value)

    nodes = tuple(n.mapped(swap) for n in model.nodes)
    inputs = [values[v] for v in model.inputs]
    return Graph("op", tuple(inputs), tuple(map(swap, model.outputs)), nodes), inputs


def _listed(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    return list(result.values()) if isinstance(result, dict) else list(result)


def _gradients(outputs: list[torch.Tensor], leaves: list[torch.Tensor]) -> list[torch.Tensor | None]:
    """Of a weighted sum of the outputs, so that no two elements count the same."""
    total = torch.zeros((), dtype=torch.float64)
    for y in outputs:
        if y.requires_grad:
            weights = torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).reshape(y.shape)
            total = total + torch.where(torch.isfinite(y), y * weights, 0.0).sum()
    if not total.requires_grad:
        return [None] * len(leaves)
    return list(torch.autograd.grad(total, leaves, allow_unused=True))


@pytest.mark.parametrize(("name", "path", "example"), CASES)
def test_values_and_gradients(request: pytest.FixtureRequest, name: str, path: str, example: Example) -> None:
    case = bench.case(bench.op_class(name), example, double=True)
    model = bench.lower(case, path)
    assert model is not None
    graph, _ = graph_of(model)
    env = bench.POINTS[1]
    arrays = bench.feeds(case, model, env)
    fixed = {f"weight.{k}" for k, w in case.weights.items() if not w.trainable}
    tensors = {k: from_numpy(a).requires_grad_(a.dtype.kind == "f" and k not in fixed) for k, a in arrays.items()}
    got = _listed(to_module(graph).eval()(*(tensors[v.name] for v in graph.inputs)))
    arguments = {a: bench.at_point(getattr(case.op, a), env) for a in signature(type(case.op)).arguments if a != "bias"}
    inputs = [tensors.get(f"x{i}") for i in range(len(case.inputs))]
    weights = {k or "weight": tensors[f"weight.{k}"] for k in case.weights}
    want = _listed(bench.references()[name](*inputs, **weights, **arguments))
    bench.close([g.detach().numpy() for g in got], [w.detach().numpy() for w in want], example.rtol, "values")
    if request.node.callspec.id.startswith(NO_GRADIENT):
        return
    leaves = [t for t in tensors.values() if t.requires_grad]
    for g, w in zip(_gradients(got, leaves), _gradients(want, leaves), strict=True):
        if w is not None and w.any():
            assert g is not None
            torch.testing.assert_close(g, w, rtol=1e-6, atol=1e-6 * float(w.abs().max()))
