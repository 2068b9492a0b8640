"""One field distilled into another: from a hash grid to a perceptron, on points of a procedural scene; its bundle renders as it does."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "field" / "pvd.yaml"
Field = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def scene(point: torch.Tensor, direction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A soft ball whose colour changes with the place and, a little, with the direction."""
    log_density = 4 - 10 * (point.norm(dim=1) - 0.6).clamp(min=-0.2)
    return log_density.clamp(-2, 7).exp(), torch.sigmoid(3 * point + 0.5 * direction)


def small(variant: str, **config: object) -> Any:
    return lamina.load(SPEC, variant, small=True, width=32, **config)


def field(variant: str, **config: object) -> Field:
    module = lamina.to_torch(small(variant, **config))

    def run(point: torch.Tensor, direction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = module(point, direction)
        return found["density"], found["color"]

    run.parameters = module.parameters  # type: ignore[attr-defined]
    run.state_dict = module.state_dict  # type: ignore[attr-defined]
    return run


def compiled(spec: Any, field: Field, folder: Path) -> Field:
    """The bundle of a spec, with the weights of a field."""
    save_file(field.state_dict(), folder / "weights.safetensors")  # type: ignore[attr-defined]
    session = lamina.Session(
        lamina.compile(spec.model_copy(update={"weights": None}), folder / "bundle", weights=folder / "weights.safetensors")
    )

    def run(point: torch.Tensor, direction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = session(point=point.numpy(), direction=direction.numpy())
        return torch.from_numpy(found["density"]), torch.from_numpy(found["color"])

    return run


def distil(teacher: Field, student: Field, steps: int, rate: float) -> None:
    """On points drawn anew in each step, by the colours and the logarithms of the densities."""
    adam = torch.optim.Adam(student.parameters(), lr=rate)  # type: ignore[attr-defined]
    schedule = torch.optim.lr_scheduler.MultiStepLR(adam, [3 * steps // 4], 0.2)
    for _ in range(steps):
        point = 2 * torch.rand(1024, 3) - 1
        direction = torch.nn.functional.normalize(torch.randn(1024, 3), dim=1)
        with torch.no_grad():
            density, color = teacher(point, direction)
        found_density, found_color = student(point, direction)
        loss = 0.1 * (found_density.log() - density.log()).square().mean() + (found_color - color).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()


@torch.no_grad()
def rendered(field: Field, size: int = 24, samples: int = 32) -> torch.Tensor:
    """What parallel rays along z gather from the field: [size * size, 3]."""
    ticks = torch.linspace(-0.95, 0.95, size)
    depth = torch.linspace(-0.95, 0.95, samples)
    point = torch.tensor(list(itertools.product(ticks.tolist(), ticks.tolist(), depth.tolist())))
    density, color = field(point, torch.tensor([0.0, 0.0, 1.0]).expand(len(point), 3))
    opacity = 1 - (-density.reshape(-1, samples) * 1.9 / samples).exp()
    passed = torch.cumprod(torch.cat([torch.ones(len(opacity), 1), 1 - opacity[:, :-1]], dim=1), dim=1)
    return ((opacity * passed)[..., None] * color.reshape(-1, samples, 3)).sum(1)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10((a - b).square().mean().item())


def test_a_hash_grid_is_distilled_into_a_perceptron(tmp_path: Path) -> None:
    torch.manual_seed(0)
    truth = rendered(scene)
    teacher = field("hash", levels=4, finest=16, table_bits=12)
    distil(scene, teacher, 160, 0.03)
    taught = rendered(teacher)
    assert psnr(taught, truth) > 25
    sizes = {"levels": 4, "mlp_width": 64, "waves": 4}
    student = field("mlp", **sizes)
    before = psnr(rendered(student), taught)
    distil(teacher, student, 150, 0.006)
    after = psnr(rendered(student), taught)
    assert before < 18
    assert after > 25
    torch.testing.assert_close(rendered(compiled(small("mlp", **sizes), student, tmp_path)), rendered(student), rtol=0, atol=1e-5)
