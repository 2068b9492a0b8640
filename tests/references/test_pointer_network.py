"""The three parts against `torch.nn.LSTM` and additive attention, the greedy loop on the host, and that it learns."""

from __future__ import annotations

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

SPEC = Path(__file__).parents[2] / "specs" / "sequence" / "pointer_network.yaml"
WIDTH = 8
Array = np.ndarray[Any, Any]


@final
class Pointer(nn.Module):
    """Vinyals et al. with a learnt end, on modules of PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.cell = nn.LSTM(2, WIDTH, batch_first=True), nn.LSTMCell(2, WIDTH)
        self.keys, self.query = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.score = nn.Linear(WIDTH, 1, bias=False)
        self.end, self.start = nn.Parameter(torch.randn(1, 1, WIDTH)), nn.Parameter(torch.randn(1, 1, 2))

    def forward(self, points: Tensor, answer: Tensor | None, steps: int) -> Tensor:
        """Scores [N, steps, T + 1], each given the answer's places before it, or those that score best."""
        states, (h, c) = self.encoder(points)
        e = torch.cat([self.end.expand(len(points), 1, WIDTH), states], dim=1)
        h, c, fed, found = h[0], c[0], self.start[:, 0].expand(len(points), 2), []
        for step in range(steps):
            h, c = self.cell(fed, (h, c))
            found.append(torch.stack([self.score((self.keys(e_j) + self.query(h)).tanh())[:, 0] for e_j in e.unbind(1)], dim=1))
            place = found[-1].argmax(1) if answer is None else answer[:, step]
            real = points[torch.arange(len(points)), (place - 1).clamp(min=0)]
            fed = torch.where((place > 0)[:, None], real, self.start[:, 0])
        return torch.stack(found, dim=1)

    def checkpoint(self) -> dict[str, Tensor]:
        """Under the spec's paths."""
        names = {"encoder.": "encoder.", "cell.": "decoder.cell.", "query.": "decoder.query.", "score.": "decoder.score."}
        found = {}
        for key, value in self.state_dict().items():
            prefix = next((p for p in names if key.startswith(p)), None)
            path = key if prefix is None else names[prefix] + key.removeprefix(prefix).removesuffix("_l0")
            found[f"{path}.weight" if path in ("end", "start") else path] = value.clone()
        return found


@pytest.fixture(scope="module")
def pointer() -> Pointer:
    torch.manual_seed(0)
    model = Pointer()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))  # so that choices differ
    return model


@pytest.fixture(scope="module")
def sessions(pointer: Pointer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, lamina.Session]:
    folder = tmp_path_factory.mktemp("pointer")
    weights = folder / "weights.safetensors"
    save_file(pointer.checkpoint(), weights)
    parts = ("teach", "encode", "step", "step_masked")
    return {p: lamina.Session(lamina.compile(lamina.load(SPEC, variant=p, small=True), folder / p, weights=weights)) for p in parts}


def points(size: int) -> Array:
    return 2 * uniform(f"points {size}", (3, size, 2))


def greedy(sessions: dict[str, lamina.Session], given: Array, steps: int) -> tuple[Array, Array]:
    """Places and scores of the loop on the host."""
    state = sessions["encode"](points=given)
    chosen, h, c = np.zeros(len(given), np.int64), state["h"], state["c"]
    places, scores = [], []
    for _ in range(steps):
        found = sessions["step"](points=given, keys=state["keys"], chosen=chosen, h=h, c=c)
        chosen, h, c = found["best"], found["next_h"], found["next_c"]
        places.append(chosen)
        scores.append(found["scores"])
    return np.stack(places, 1), np.stack(scores, 1)


@pytest.mark.parametrize("size", [1, 3, 5, 20])
def test_the_loop_on_the_host_chooses_what_torch_chooses(sessions: dict[str, lamina.Session], pointer: Pointer, size: int) -> None:
    places, scores = greedy(sessions, points(size), size + 1)
    with torch.no_grad():
        wanted = pointer(torch.from_numpy(points(size)), None, size + 1).numpy()
    np.testing.assert_allclose(scores, wanted, atol=1e-5 * np.abs(wanted).max())
    np.testing.assert_array_equal(places, wanted.argmax(-1))
    assert size < 5 or len(np.unique(places)) > 2


@pytest.mark.parametrize(("size", "steps"), [(1, 1), (4, 7), (12, 5)])
def test_a_given_answer_is_scored_as_torch_scores_it(
    sessions: dict[str, lamina.Session], pointer: Pointer, record: Record, size: int, steps: int
) -> None:
    answer = np.floor((uniform("answer", (3, steps)) + 1) / 2 * (size + 1)).astype(np.int64)
    found = sessions["teach"](points=points(size), answer=answer)["logits"]
    with torch.no_grad():
        wanted = pointer(torch.from_numpy(points(size)), torch.from_numpy(answer), steps).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
    for variant in lamina.load(SPEC).variants:
        record(SPEC, variant, "parity", f"{np.abs(found - wanted).max() / np.abs(wanted).max():.0e} of torch.nn.LSTM with attention, small")


def test_a_tour_visits_every_point_once(sessions: dict[str, lamina.Session]) -> None:
    given = points(9)
    state = sessions["encode"](points=given)
    chosen, h, c, free = np.zeros(3, np.int64), state["h"], state["c"], np.ones((3, 10), bool)
    free[:, 0] = False
    tour = []
    for _ in range(9):
        found = sessions["step_masked"](points=given, keys=state["keys"], chosen=chosen, h=h, c=c, open=free)
        chosen, h, c = found["best"], found["next_h"], found["next_c"]
        free[np.arange(3), chosen] = False
        tour.append(chosen)
    np.testing.assert_array_equal(np.sort(np.stack(tour, 1), 1), np.tile(np.arange(1, 10), (3, 1)))


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
