"""The parts against `torch.nn.LSTM` and additive attention, the loops of `docs/examples` on the host, and that it learns to sort."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
import torch
from evidence import Record
from fill import uniform
from safetensors.torch import save_file
from torch import Tensor, nn

import lamina

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "specs" / "sequence" / "pointer_network.yaml"
HOST = runpy.run_path(str(ROOT / "docs" / "examples" / "pointer_network.py"))
PARTS = ("teach", "encode", "step", "step_masked")
Array = np.ndarray[Any, Any]


@final
class Pointer(nn.Module):
    """Vinyals et al. with a learnt end, on modules of PyTorch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder, self.cell = nn.LSTM(2, width, batch_first=True), nn.LSTMCell(2, width)
        self.keys, self.query = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)
        self.end, self.start = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, 1, 2))

    @torch.no_grad()
    def forward(self, given: Array, steps: int, answer: Array | None = None, tour: bool = False) -> tuple[Array, Array]:
        """Places [N, steps] and scores [N, steps, T + 1], each given the answer's places before it, or those that scored best."""
        points, rows = torch.from_numpy(given), torch.arange(len(given))
        states, (h, c) = self.encoder(points)
        e = torch.cat([self.end.expand(len(points), 1, -1), states], dim=1)
        h, c, fed, scores, places = h[0], c[0], self.start[:, 0].expand(len(points), 2), [], []
        closed = torch.zeros(e.shape[:2], dtype=torch.bool)
        closed[:, 0] = tour
        for step in range(steps):
            h, c = self.cell(fed, (h, c))
            scores.append(torch.stack([self.score((self.keys(e_j) + self.query(h)).tanh())[:, 0] for e_j in e.unbind(1)], dim=1))
            place = scores[-1].masked_fill(closed, -torch.inf).argmax(1) if answer is None else torch.from_numpy(answer[:, step])
            places.append(place)
            closed[rows, place] |= tour
            fed = torch.where((place > 0)[:, None], points[rows, (place - 1).clamp(min=0)], self.start[:, 0])
        return torch.stack(places, dim=1).numpy(), torch.stack(scores, dim=1).numpy()

    def checkpoint(self) -> dict[str, Tensor]:
        """Under the spec's paths."""
        names = {"encoder.": "encoder.", "cell.": "decoder.cell.", "query.": "decoder.query.", "score.": "decoder.score."}
        found = {}
        for key, value in self.state_dict().items():
            prefix = next((p for p in names if key.startswith(p)), None)
            path = key if prefix is None else names[prefix] + key.removeprefix(prefix).removesuffix("_l0")
            found[f"{path}.weight" if path in ("end", "start") else path] = value.clone()
        return found


@dataclass(frozen=True)
class Twins:
    """A model of torch and our compiled parts, with the same weights."""

    width: int
    theirs: Pointer
    ours: dict[str, lamina.Session]
    bundles: Path

    def record(self, record: Record, parts: tuple[str, ...], error: float) -> None:
        """Of the variants that were run."""
        suffix, small = {8: ("", ", small"), 256: ("", ""), 512: ("_512", "")}[self.width]
        for part in parts:
            record(SPEC, part + suffix, "parity", f"{error:.0e} of torch.nn.LSTM with attention{small}")


WIDTHS = [8, pytest.param(256, marks=pytest.mark.sweep), pytest.param(512, marks=pytest.mark.sweep)]


@pytest.fixture(scope="module", params=WIDTHS)
def twins(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    width, folder = request.param, tmp_path_factory.mktemp("pointer")
    torch.manual_seed(0)
    model = Pointer(width)
    with torch.no_grad():
        for parameter in model.parameters():  # so large that choices differ
            parameter.copy_(torch.randn_like(parameter) * (8 / max(width, 8)) ** 0.5)
    weights = folder / "weights.safetensors"
    save_file(model.checkpoint(), weights)
    specs = {part: lamina.load(SPEC, variant=part, width=width) for part in PARTS}
    ours = {part: lamina.Session(lamina.compile(spec, folder / part, weights=weights)) for part, spec in specs.items()}
    yield Twins(width, model, ours, folder)
    for session in ours.values():
        session.close()


def points(size: int) -> Array:
    return 2 * uniform(f"points {size}", (3, size, 2))


def error_of(found: Array, wanted: Array) -> float:
    error = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    assert error <= 1e-5
    return error


@pytest.mark.parametrize("size", [1, 3, 5, 20])
def test_the_loop_on_the_host_chooses_what_torch_chooses(twins: Twins, record: Record, size: int) -> None:
    places, scores = HOST["greedy"](twins.ours["encode"], twins.ours["step"], points(size), size + 1)
    wanted, wanted_scores = twins.theirs(points(size), size + 1)
    error = error_of(scores, wanted_scores)
    np.testing.assert_array_equal(places, wanted)
    assert size < 5 or len(np.unique(places)) > 2
    twins.record(record, ("encode", "step"), error)


@pytest.mark.parametrize(("size", "steps"), [(1, 1), (4, 7), (12, 5)])
def test_a_given_answer_is_scored_as_torch_scores_it(twins: Twins, record: Record, size: int, steps: int) -> None:
    answer = np.floor((uniform("answer", (3, steps)) + 1) / 2 * (size + 1)).astype(np.int64)
    found = twins.ours["teach"](points=points(size), answer=answer)["logits"]
    _, wanted = twins.theirs(points(size), steps, answer)
    twins.record(record, ("teach",), error_of(found, wanted))


@pytest.mark.parametrize("size", [1, 4, 9])
def test_a_tour_is_the_one_that_torch_makes_with_its_mask(twins: Twins, record: Record, size: int) -> None:
    given = points(size)
    state = twins.ours["encode"](points=given)
    chosen, h, c, free = np.zeros(3, np.int64), state["h"], state["c"], np.ones((3, size + 1), bool)
    free[:, 0] = False
    tour, scores = [], []
    for _ in range(size):
        found = twins.ours["step_masked"](points=given, keys=state["keys"], chosen=chosen, h=h, c=c, open=free)
        chosen, h, c = found["best"], found["next_h"], found["next_c"]
        free[np.arange(3), chosen] = False
        tour.append(chosen)
        scores.append(found["scores"])
    wanted, wanted_scores = twins.theirs(given, size, tour=True)
    error = error_of(np.stack(scores, 1), wanted_scores)
    np.testing.assert_array_equal(np.stack(tour, 1), wanted)
    np.testing.assert_array_equal(np.sort(wanted, 1), np.tile(np.arange(1, size + 1), (3, 1)))
    assert size == 1 or (wanted != twins.theirs(given, size)[0]).any()  # the mask matters
    twins.record(record, ("step_masked",), error)


def likelihoods(twins: Twins, given: Array) -> dict[tuple[int, ...], float]:
    """The log-probability of each tour, by torch's scores."""
    count, found = len(given), {}
    for tour in permutations(range(1, count + 1)):
        _, scores = twins.theirs(given[None], count, np.array([tour]))
        free = [[place for place in range(1, count + 1) if place not in tour[:step]] for step in range(count)]
        log_p = [scores[0, step, tour[step]] - np.logaddexp.reduce(scores[0, step, free[step]]) for step in range(count)]
        found[tour] = float(sum(log_p))
    return found


def test_a_wide_beam_finds_the_likeliest_tour_and_a_narrow_one_the_greedy(twins: Twins) -> None:
    encode, step = twins.ours["encode"], twins.ours["step_masked"]
    better = 0
    for given in 2 * uniform("tours", (6, 4, 2)):
        all_tours = likelihoods(twins, given)
        tour, likely = HOST["beam"](encode, step, given, width=24)
        assert tuple(tour) == max(all_tours, key=all_tours.__getitem__)
        np.testing.assert_allclose(likely, max(all_tours.values()), atol=1e-4)
        (greedy,), _ = twins.theirs(given[None], 4, tour=True)
        tour, likely = HOST["beam"](encode, step, given, width=1)
        np.testing.assert_array_equal(tour, greedy)
        np.testing.assert_allclose(likely, all_tours[tuple(greedy)], atol=1e-4)
        better += likely < max(all_tours.values()) - 1e-3
    assert better or twins.width > 8  # the beam is worth its steps: the small model is unsure enough


def test_the_example_prints_a_tour(twins: Twins, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savetxt(tmp_path / "points.txt", points(5)[0])
    HOST["main"](str(twins.bundles / "encode"), str(twins.bundles / "step_masked"), str(tmp_path / "points.txt"))
    assert sorted(capsys.readouterr().out.splitlines()[0].split()) == ["1", "2", "3", "4", "5"]


def test_one_answer_is_learnt() -> None:
    """Three points in order of their first coordinate, and the end."""
    module = lamina.to_torch(lamina.load(SPEC, variant="teach", small=True, width=16))
    given = torch.from_numpy(points(3)[:1])
    answer = torch.cat([given[..., 0].argsort(1) + 1, torch.zeros(1, 1, dtype=torch.int64)], dim=1)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(20):
        logits = module(points=given, answer=answer)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), answer.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(logits.argmax(-1), answer)


LENGTHS, STEPS = (3, 4, 5), 3000


def sorting(count: int, length: int) -> tuple[Tensor, Tensor]:
    """Numbers [count, length, 1], and their places from the smallest on, then the end."""
    numbers = torch.rand(count, length, 1)
    return numbers, torch.cat([numbers[..., 0].argsort(1) + 1, torch.zeros(count, 1, dtype=torch.int64)], dim=1)


@pytest.mark.sweep
def test_it_learns_to_sort(tmp_path: Path) -> None:
    """Trained on numbers of three lengths; then its compiled parts and the loop on the host sort most others, every place and the end."""
    torch.manual_seed(0)
    config = {"features": 1, "width": 64}
    module = lamina.to_torch(lamina.load(SPEC, variant="teach", **config))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=STEPS)
    for step in range(STEPS):
        numbers, answer = sorting(128, LENGTHS[step % len(LENGTHS)])
        loss = nn.functional.cross_entropy(module(points=numbers, answer=answer).flatten(0, 1), answer.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    weights = tmp_path / "weights.safetensors"
    save_file({name: value.detach() for name, value in module.state_dict().items()}, weights)
    specs = {part: lamina.load(SPEC, variant=part, **config) for part in ("encode", "step")}
    encode, step_once = (lamina.Session(lamina.compile(spec, tmp_path / p, weights=weights)) for p, spec in specs.items())
    right = []
    for length in LENGTHS:
        numbers, answer = sorting(1000, length)
        places, _ = HOST["greedy"](encode, step_once, numbers.numpy(), length + 1)
        right.append(float((places == answer.numpy()).all(1).mean()))
    assert min(right) > 0.9, right
