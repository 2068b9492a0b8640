"""The mixer as one matrix, and rows with and without padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from causal_lm import tokens

import lamina
from lamina.runtime import Session

SPEC = Path(__file__).parents[2] / "specs" / "sequence" / "hydra.yaml"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    spec = lamina.load(SPEC, small=True).model_copy(update={"tokenizer": None})
    return Session(lamina.compile(spec, tmp_path_factory.mktemp("hydra") / "bundle"))


def test_padding_does_not_reach_the_tokens(session: Session) -> None:
    """On either side: neither the convolution nor the way back brings anything of it."""
    ids, types = tokens(2, 20, 96), np.zeros((2, 20), np.int64)
    mask = np.ones_like(ids)
    mask[0, 13:] = mask[1, :6] = 0
    padded = session(input_ids=ids, attention_mask=mask, token_type_ids=types)["logits"]
    for row in range(2):
        kept = mask[row] == 1
        short = ids[row : row + 1, kept]
        alone = session(input_ids=short, attention_mask=np.ones_like(short), token_type_ids=np.zeros_like(short))["logits"][0]
        np.testing.assert_allclose(padded[row, kept], alone, atol=1e-5 * np.abs(alone).max())


MIXING = """\
lamina: 1
model: mixing
use: [selective]
inputs: {x: "float32[1, T, 6]", dt: "float32[1, T, 2]", b: "float32[1, T, 4]", c: "float32[1, T, 4]", state: "float32[1, 2, 4, 3]"}
dims: {T: {min: 1, opt: 64, max: 200}}
body: ["y, last = ssd(x, dt, -exp(parameter([2], init=[0.5, -1], name='a')), b, c, state, heads=2, groups=1)"]
outputs: {y: "float32[1, T, 6]", last: "float32[1, 2, 4, 3]"}
"""


@pytest.mark.parametrize("length", [1, 7, 150])
def test_state_spaces_with_one_rate_are_one_semiseparable_matrix(length: int, tmp_path: Path) -> None:
    """M[i, j] = c[i] . b[j] * exp(a * the sum of dt from j + 1 to i) * dt[j] below the diagonal and on it."""
    (tmp_path / "mixing.yaml").write_text(MIXING)
    session = Session(lamina.compile(lamina.load(tmp_path / "mixing.yaml"), tmp_path / "bundle"))
    rng = np.random.default_rng(0)
    x, b, c = (rng.standard_normal((1, length, width)).astype(np.float32) for width in (6, 4, 4))
    dt = rng.uniform(0.01, 1, (1, length, 2)).astype(np.float32)
    found = session(x=x, dt=dt, b=b, c=c, state=np.zeros((1, 2, 4, 3), np.float32))["y"]
    for head, rate in enumerate(-np.exp([0.5, -1])):
        passed = rate * dt[0, :, head].astype(np.float64).cumsum()
        decay = np.tril(np.exp(np.minimum(passed[:, None] - passed[None, :], 0)))
        matrix = decay * (c[0].astype(np.float64) @ b[0].T) * dt[0, :, head]
        part = slice(3 * head, 3 * head + 3)
        np.testing.assert_allclose(found[0, :, part], matrix @ x[0, :, part], atol=1e-4)
