"""Trajectories against each expert's own equation, solved in float64 by steps so small that they do not matter."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from evidence import Record
from fill import Scale, fill, uniform
from safetensors.numpy import save_file
from torch import Tensor

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "series" / "mixer_ode.yaml"
DATA, EXPERTS, PIECE, WIDTH = 2, 3, 3, 8
STARTS, CONTEXTS = uniform("starts", (7, DATA)), 2 * uniform("contexts", (7, EXPERTS * PIECE))
TIMES = np.array([0, 0.1, 0.3, 0.35, 0.6, 0.8], np.float32)
Weights = dict[str, Tensor]


def drawn(variant: str) -> Weights:
    module = lamina.to_torch(lamina.load(SPEC, variant, small=True))
    scales = (Scale("*.beta", 1, 0.3), Scale("*.matrix.weight", 0, 0.1))
    return {k: torch.from_numpy(np.asarray(fill(k, tuple(v.shape), scales))).double() for k, v in module.state_dict().items()}


def equation(w: Weights, context: Tensor) -> tuple[int, Callable[[Tensor], Tensor]]:
    """The chosen expert, and its network with the context's own weights, as the authors form them."""
    number = int((context @ w["gate"][:-1] + w["gate"][-1]).argmax())
    own = {k.removeprefix(f"field.experts.{number}."): v for k, v in w.items() if k.startswith(f"field.experts.{number}.")}
    c = context.view(EXPERTS, PIECE)[number] + own["ctx_shift"]

    def field(y: Tensor) -> Tensor:
        for i in range(3):
            p = f"layers.{i}.adapted"
            matrix, bias = own[f"{p}.root.weight"], own[f"{p}.root.bias"] + own[f"{p}.shift.weight"] @ c
            if f"{p}.matrix.weight" in own:
                matrix = matrix + (own[f"{p}.matrix.weight"] @ c).view_as(matrix)
            else:
                matrix = matrix + own[f"{p}.left.weight"] @ torch.diag(c) @ own[f"{p}.right.weight"]
            y = matrix @ y + bias
            if i < 2:
                y = y * torch.sigmoid((own[f"layers.{i}.swish.beta"] + own[f"layers.{i}.swish.shift.weight"] @ c) * y)
        return y

    return number, field


def solved(field: Callable[[Tensor], Tensor], y: Tensor, steps: int = 60) -> Tensor:
    """By the midpoint rule."""
    found = [y]
    for start, end in itertools.pairwise(TIMES):
        h = float(end - start) / steps
        for _ in range(steps):
            y = y + h * field(y + h / 2 * field(y))
        found.append(y)
    return torch.stack(found)


@pytest.mark.parametrize("variant", ["geps", "coda"])
def test_trajectories(variant: str, tmp_path: Path, record: Record) -> None:
    weights = drawn(variant)
    save_file({k: v.float().numpy() for k, v in weights.items()}, tmp_path / "weights.safetensors")
    bundle = lamina.compile(lamina.load(SPEC, variant, small=True), tmp_path / "bundle", weights=tmp_path / "weights.safetensors")
    got = lamina.Session(bundle)(start=STARTS, context=CONTEXTS, times=TIMES)
    equations = [equation(weights, torch.from_numpy(context).double()) for context in CONTEXTS]
    assert got["expert"].tolist() == [number for number, _ in equations]
    assert len(set(got["expert"].tolist())) > 1
    want = torch.stack([solved(field, torch.from_numpy(y).double()) for (_, field), y in zip(equations, STARTS, strict=True)]).numpy()
    error = float(np.abs(got["trajectory"] - want).max() / np.abs(want).max())
    assert error < 1e-4
    assert np.abs(want[:, -1] - want[:, 0]).max() > 0.1
    record(SPEC, variant, "parity", f"{error:.0e} of each system's own equation, solved in float64, small")


def test_other_experts_do_not_matter(tmp_path: Path) -> None:
    """A system reads only its expert, and of its context only that expert's piece, once the gate has chosen."""
    module, inputs = lamina.to_torch(lamina.load(SPEC, "geps", small=True)).eval(), [torch.from_numpy(a) for a in (STARTS, CONTEXTS, TIMES)]
    with torch.no_grad():
        before = module(*inputs)
        chosen = int(before["expert"][0])
        for name, weight in module.named_parameters():
            if name.startswith("field.experts.") and not name.startswith(f"field.experts.{chosen}."):
                weight.add_(1.0)
        after = module(*inputs)["trajectory"]
    same = before["expert"] == chosen
    torch.testing.assert_close(after[same], before["trajectory"][same])
