"""Steps that are trained by the derivative of a smooth one: their values, and gradients through a spiking network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lamina

STEP = """\
lamina: 1
model: step
config: {{surrogate: "'none' | 'atan' | 'sigmoid' | 'triangle' | 'rectangle' = '{surrogate}'"}}
inputs: {{x: "float32[T]"}}
dims: {{T: {{min: 1, opt: 4, max: 64}}}}
body: [heaviside: {{surrogate: surrogate}}]
outputs: {{y: "float32[T]"}}
"""
SPIKES = """\
lamina: 1
model: spikes
inputs: {x: "float32[N, T, 3]"}
dims: {N: {min: 1, opt: 2, max: 4}, T: {min: 1, opt: 6, max: 64}}
body:
  - current = linear(x, 5)
  - scan:
      over: 1
      values: {u: current}
      carry: {potential: "zeros([shape(x)[0], 5])"}
      do:
        - charged = potential + (u - potential) / 2
        - spike = heaviside(charged - 0.3, 'sigmoid', alpha=4.0)
        - potential = charged * (1 - heaviside(charged - 0.3))    # starting over is not trained
      collect: {spikes: spike}
  - linear(spikes, 2)
outputs: {y: "float32[N, T, 2]"}
"""


@pytest.mark.parametrize("surrogate", ["none", "atan", "sigmoid", "triangle", "rectangle"])
def test_the_value_is_the_step_everywhere(surrogate: str, tmp_path: Path) -> None:
    """Exactly 0 or 1, at 0 and at infinities too, where the gradient is finite."""
    (tmp_path / "step.yaml").write_text(STEP.format(surrogate=surrogate))
    module = lamina.to_torch(lamina.load(tmp_path / "step.yaml"))
    x = torch.tensor([-torch.inf, -1e30, -0.1, -1e-30, -0.0, 0.0, 1e-30, 0.3, 1e30, torch.inf], requires_grad=True)
    y = module(x)
    assert torch.equal(y.detach(), torch.heaviside(x.detach(), torch.ones(())))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert (x.grad[2] > 0) == (surrogate != "none")


class Spike(torch.autograd.Function):
    """A step with the derivative of sigmoid(4 x)."""

    @staticmethod
    def forward(context, x):  # type: ignore[no-untyped-def]
        context.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(context, gradient):  # type: ignore[no-untyped-def]
        (x,) = context.saved_tensors
        return gradient * 4 / (2 + torch.exp(4 * x) + torch.exp(-4 * x))


def _theirs(x: torch.Tensor, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    current = torch.nn.functional.linear(x, weights["linear.weight"], weights["linear.bias"])
    potential, spikes = torch.zeros_like(current[:, 0]), []
    for u in current.unbind(1):
        charged = potential + (u - potential) / 2
        spikes.append(Spike.apply(charged - 0.3))
        potential = charged * (1 - spikes[-1].detach())
    return torch.nn.functional.linear(torch.stack(spikes, 1), weights["linear_2.weight"], weights["linear_2.bias"])


def test_a_spiking_network_is_trained(tmp_path: Path) -> None:
    """Every gradient of a recurrence of leaky neurons, against the same in PyTorch with a derivative of its own."""
    (tmp_path / "spikes.yaml").write_text(SPIKES)
    torch.manual_seed(0)
    module = lamina.to_torch(lamina.load(tmp_path / "spikes.yaml"))
    weights = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
    x, target = torch.randn(2, 6, 3), torch.randn(2, 6, 2)
    got, want = module(x), _theirs(x, weights)
    torch.testing.assert_close(got, want)
    ((got - target) ** 2).sum().backward()
    ((want - target) ** 2).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.any()
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=1e-4, atol=1e-5)


def test_a_compiled_network_fires_as_the_module_does(tmp_path: Path) -> None:
    """ONNX has the comparison alone: no smooth step is computed there."""
    (tmp_path / "spikes.yaml").write_text(SPIKES)
    spec = lamina.load(tmp_path / "spikes.yaml")
    bundle = lamina.compile(spec, tmp_path / "bundle", ["onnx"])
    assert b"Sigmoid" not in (tmp_path / "bundle" / "model.onnx").read_bytes()
    x = torch.randn(2, 6, 3)
    with torch.no_grad():
        expected = lamina.to_torch(spec).eval()(x)
    torch.testing.assert_close(torch.from_numpy(lamina.Session(bundle).run({"x": x.numpy()})["y"]), expected)
