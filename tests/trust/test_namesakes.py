"""A few samples of every operator of PyTorch's tests, against our op of that name; and what the whole run found, in small."""

from __future__ import annotations

import op_harness as bench
import pytest
import torch

pytest.importorskip("expecttest", reason="PyTorch's operator tests need it")

from namesakes import Tally, run
from torch_samples import TABLE


@pytest.mark.parametrize("name", sorted({row.ours for row in TABLE}))
def test_agrees_with_its_namesake(name: str) -> None:
    torch.set_num_threads(2)
    tally = Tally()
    run([row for row in TABLE if row.ours == name], ("float32", "int64", "bool"), 2, False, tally)
    assert not tally.wrong


def test_every_row_names_an_op() -> None:
    assert {row.ours for row in TABLE} <= set(bench.op_names())
