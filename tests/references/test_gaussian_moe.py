"""A Gaussian mixture of experts against PyTorch's distributions; what its gate does at the limits; and a fit that finds its makers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from evidence import Record
from fill import fill, uniform
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "layer" / "gaussian_moe.yaml"
ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "gelu": torch.nn.functional.gelu, "gelu_annealed": torch.nn.functional.gelu}
X, Y = torch.from_numpy(2 * uniform("x", (40, 3))), torch.from_numpy(2 * uniform("y", (40,)))


def filled(variant: str) -> Any:
    """The small module, all of whose weights are lively."""
    module = lamina.to_torch(lamina.load(SPEC, variant, small=True)).eval()
    module.load_state_dict({k: torch.from_numpy(fill(k, tuple(v.shape))) for k, v in module.state_dict().items()})
    return module


def temperature(module: Any, variant: str) -> float:
    if "annealed" in variant:
        return 0.4
    return 1.0 if variant == "softmax" else float(module.log_temperature.detach().exp())


def found(module: Any, variant: str, warmth: float) -> dict[str, Tensor]:
    with torch.no_grad():
        return dict(module(x=X, y=Y, **({"temperature": torch.tensor(warmth)} if "annealed" in variant else {})))


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_it_is_the_mixture_of_distributions(variant: str, record: Record) -> None:
    module = filled(variant)
    warmth, w = temperature(module, variant), {k: v.detach() for k, v in module.state_dict().items()}
    logits, means = (X @ w[f"{name}.weight"].T + w[f"{name}.bias"] for name in ("gate", "means"))
    scores = ACTIVATIONS.get(variant, lambda z: z)(logits) / warmth
    mixture = MixtureSameFamily(Categorical(logits=scores), Normal(means, w["log_scales"].exp()))
    got = found(module, variant, warmth)
    wanted = {"mean": mixture.mean, "log_density": mixture.log_prob(Y), "shares": mixture.mixture_distribution.probs}
    error = max(float((got[k] - v).abs().max() / v.abs().max()) for k, v in wanted.items())
    assert error < 1e-5
    record(SPEC, variant, "parity", f"{error:.0e} of torch.distributions {torch.__version__.split('+')[0]}, small")


def test_without_an_activation_and_at_temperature_one_it_is_softmax() -> None:
    plain, learnt = filled("softmax"), filled("dense_to_sparse")
    torch.testing.assert_close(found(filled("dense_to_sparse_annealed"), "annealed", 1.0), found(plain, "softmax", 1.0))
    with torch.no_grad():
        learnt.log_temperature.zero_()
    torch.testing.assert_close(found(learnt, "dense_to_sparse", 1.0), found(plain, "softmax", 1.0))


def test_heat_makes_shares_even_and_cold_leaves_the_best() -> None:
    module = filled("gelu_annealed")
    hot, cold = (found(module, "annealed", warmth)["shares"] for warmth in (1e4, 1e-5))
    torch.testing.assert_close(hot, torch.full_like(hot, 1 / 4), atol=1e-3, rtol=0)
    best = torch.nn.functional.gelu(X @ module.gate.weight.T + module.gate.bias).argmax(-1)
    torch.testing.assert_close(cold, torch.nn.functional.one_hot(best, 4).float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("variant", [pytest.param("dense_to_sparse", marks=pytest.mark.sweep), "sigmoid"])
def test_a_fit_finds_what_made_the_data(variant: str) -> None:
    """Two lines, one on each side of 0: the likelihood becomes that of their maker, and the noise is found."""
    torch.manual_seed(0)
    spec = lamina.load(SPEC, variant, features=1, experts=2)
    module = lamina.to_torch(spec)
    x = torch.rand(300, 1) * 4 - 2
    y = torch.where(x[:, 0] > 0, 2 * x[:, 0] - 1, -x[:, 0] + 1) + 0.2 * torch.randn(300)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss = -module(x=x, y=y)["log_density"].mean()
        loss.backward()
        optimizer.step()
    truth = Normal(0.0, 0.2).entropy()
    assert loss < truth + 0.1
    slopes = sorted(float(v) for v in module.means.weight.detach().flatten())
    torch.testing.assert_close(torch.tensor(slopes), torch.tensor([-1.0, 2.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(module.log_scales.detach().exp(), torch.tensor([0.2, 0.2]), atol=0.05, rtol=0)
