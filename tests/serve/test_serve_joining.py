"""Calls that are made as one: where that is sound, and that nobody can tell."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest
from serving import TABLE, average, pooled, scale

from lamina.runtime import Session
from lamina.runtime.manifest import Manifest, read_manifest
from lamina.runtime.serve.joining import Joining, joining_of
from lamina.runtime.serve.probe import probed
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.scheduler import Scheduler
from lamina.runtime.serve.settings import Limits
from lamina.runtime.text import TextEncoder

Array = np.ndarray[Any, Any]


def changed(folder: Path, **changes: Any) -> Manifest:
    return read_manifest(scale(folder, **changes))


def test_rows_are_joined_along_the_leading_dim(tmp_path: Path) -> None:
    found = joining_of(changed(tmp_path), 32, None)
    assert found is not None
    assert (found.dim, found.most, found.padding) == ("N", 8, None)  # N is at most 8


TENSOR = {"dtype": "float32", "shape": ["N", 3]}
UNSOUND: list[dict[str, Any]] = [
    {"inputs": [{"name": "x"} | TENSOR, {"name": "z"} | TENSOR | {"shape": [3]}]},  # of no row
    {"inputs": [{"name": "x"} | TENSOR, {"name": "z"} | TENSOR | {"shape": ["N", "N"]}]},
    {"outputs": [{"name": "y"} | TENSOR | {"shape": [3]}]},
    {"outputs": [{"name": "y"} | TENSOR | {"shape": ["2 * N", 3]}]},
    {"inputs": [{"name": "x"} | TENSOR | {"shape": [2, 3]}]},
    {"dims": {"N": {"min": 1, "opt": 1, "max": 1}}},
    {"dims": {"N": {"max": 8}, "T": {"max": 8, "at_most": "9 - N"}}},
    {
        "inputs": [{"name": "x"} | TENSOR, {"name": "past.s"} | TENSOR],
        "outputs": [{"name": "y"} | TENSOR, {"name": "present.s"} | TENSOR],
        "states": [{"name": "s"}],
    },
]


@pytest.mark.parametrize("changes", UNSOUND)
def test_where_a_manifest_lets_nothing_be_joined(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert joining_of(changed(tmp_path, **changes), 32, None) is None


def joining(folder: Path) -> tuple[Session, Joining]:
    session = Session(folder, threads=1)
    found = joining_of(session.manifest, 32, None if session.manifest.tokenizer is None else TextEncoder(folder, session.manifest).padding)
    assert found is not None
    return session, found


def test_rows_that_change_each_other_are_found_by_trying(tmp_path: Path) -> None:
    assert probed(*joining(scale(tmp_path))) is not None
    assert probed(*joining(average(tmp_path))) is None


def test_padding_that_changes_a_text_is_found_by_trying(tmp_path: Path) -> None:
    masked, unmasked = probed(*joining(pooled(tmp_path))), probed(*joining(pooled(tmp_path / "unmasked", masked=False)))
    assert masked is not None
    assert unmasked is not None
    assert (masked.padding is not None, unmasked.padding) == (True, None)


def test_texts_of_unequal_lengths_are_padded_and_cut_again(tmp_path: Path) -> None:
    session, found = joining(pooled(tmp_path))
    calls = [{"ids": np.array(ids), "mask": np.ones_like(ids)} for ids in ([[2, 3]], [[4, 5, 6, 7], [1, 1, 1, 1]])]
    joined = found.join(calls)
    np.testing.assert_array_equal(joined["ids"], [[2, 3, 0, 0], [4, 5, 6, 7], [1, 1, 1, 1]])
    np.testing.assert_array_equal(joined["mask"], [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]])
    one, two = found.split(session.run(joined), calls)
    np.testing.assert_array_equal(one["words"], TABLE[[[2, 3]]])
    np.testing.assert_array_equal(two["embedding"], [TABLE[[4, 5, 6, 7]].mean(0), TABLE[1]])


class Model:
    """y = 2 x, once it may: it tells how many rows each of its calls had."""

    def __init__(self) -> None:
        self.may, self.calls, self.began = threading.Event(), [], threading.Event()

    def __call__(self, inputs: dict[str, Array], adapter: str | None) -> dict[str, Array]:
        self.calls.append(len(inputs["x"]))
        self.began.set()
        assert self.may.wait(10)
        if (inputs["x"] == 13).any():
            raise ValueError("13")
        return {"y": 2 * inputs["x"]}


def scheduler(folder: Path, model: Model, **limits: int) -> Scheduler:
    return Scheduler(model, joining_of(read_manifest(scale(folder)), 8, None), Limits(**limits), 1, lambda *_: None)


def row(value: float) -> dict[str, Array]:
    return {"x": np.full((1, 3), value, np.float32)}


def run(test: Any) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


def soon(seconds: float = 10) -> float:
    return time.monotonic() + seconds


def test_calls_that_wait_are_made_as_one(tmp_path: Path) -> None:
    async def test() -> None:
        queue = scheduler(tmp_path, model := Model())
        first = queue.submit(row(0), None, 0, soon())
        await asyncio.to_thread(model.began.wait)
        others = [queue.submit(row(value), None, 0, soon()) for value in range(1, 11)]
        model.may.set()
        assert (await first)["y"].tolist() == [[0, 0, 0]]
        for value, other in enumerate(others, 1):
            assert (await other)["y"].tolist() == [[2 * value] * 3]
        assert model.calls == [1, 8, 2]  # eight rows are the most
        await asyncio.to_thread(queue.close)

    run(test())


def test_a_call_that_fails_fails_alone(tmp_path: Path) -> None:
    async def test() -> None:
        queue = scheduler(tmp_path, model := Model())
        first = queue.submit(row(0), None, 0, soon())
        await asyncio.to_thread(model.began.wait)
        good, bad = queue.submit(row(1), None, 0, soon()), queue.submit(row(13), None, 0, soon())
        model.may.set()
        await first
        assert (await good)["y"].tolist() == [[2, 2, 2]]
        with pytest.raises(ValueError, match="13"):
            await bad
        await asyncio.to_thread(queue.close)

    run(test())


def test_calls_of_other_adapters_and_large_answers_are_not_joined(tmp_path: Path) -> None:
    async def test() -> None:
        queue = scheduler(tmp_path, model := Model(), answer=100)
        asked = [queue.submit(row(0), None, 60, soon())]
        await asyncio.to_thread(model.began.wait)
        asked += [queue.submit(row(0), adapter, answer, soon()) for adapter, answer in ((None, 60), (None, 60), ("a", 1), ("a", 1))]
        model.may.set()
        await asyncio.gather(*asked)
        assert model.calls == [1, 1, 1, 2]
        await asyncio.to_thread(queue.close)

    run(test())


def test_a_full_queue_refuses(tmp_path: Path) -> None:
    async def test() -> None:
        queue = scheduler(tmp_path, model := Model(), queue=2)
        asked = [queue.submit(row(0), None, 0, soon())]
        await asyncio.to_thread(model.began.wait)
        asked += [queue.submit(row(0), None, 0, soon()) for _ in range(2)]
        with pytest.raises(Refused, match="2 requests wait for this model, and no more may") as caught:
            queue.submit(row(0), None, 0, soon())
        assert (caught.value.status, caught.value.retry_after) == (503, 1)
        with pytest.raises(Refused, match="2 requests wait"):
            queue.admit(soon())
        asked.pop().cancel()  # whoever leaves makes room
        asked.append(queue.submit(row(0), None, 0, soon()))
        model.may.set()
        await asyncio.gather(*asked)
        await asyncio.to_thread(queue.close)

    run(test())


def test_what_nobody_waits_for_is_not_made(tmp_path: Path) -> None:
    async def test() -> None:
        queue = scheduler(tmp_path, model := Model())
        first = queue.submit(row(0), None, 0, soon())
        await asyncio.to_thread(model.began.wait)
        left, late = queue.submit(row(1), None, 0, soon()), queue.submit(row(2), None, 0, soon(0.01))
        left.cancel()
        await asyncio.sleep(0.02)
        model.may.set()
        await first
        await queue.submit(row(3), None, 0, soon())
        await asyncio.to_thread(queue.close)
        assert model.calls == [1, 1]
        assert not late.done()

    run(test())


def test_what_would_be_too_late_is_refused_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        queue = scheduler(tmp_path, model := Model())
        model.may.set()
        await queue.submit(row(0), None, 0, soon())
        model.may.clear()
        model.began.clear()
        queue._pace.took(1, 100.0)  # about 20 s a row
        asked = queue.submit(row(0), None, 0, soon(1))  # nothing is before it: let it try
        await asyncio.to_thread(model.began.wait)
        with pytest.raises(Refused, match="so it would be answered too late") as caught:
            queue.submit(row(0), None, 0, soon(30))
        assert caught.value.status == 503
        assert caught.value.retry_after in (20, 21)
        with pytest.raises(Refused, match="so it would be answered too late"):
            queue.submit(row(0), None, 0, soon(45))  # 40 s, if no call takes longer than the mean
        model.may.set()
        await asked
        await asyncio.to_thread(queue.close)

    run(test())


def test_closing_makes_what_was_accepted(tmp_path: Path) -> None:
    async def test() -> None:
        queue = scheduler(tmp_path, model := Model())
        asked = [queue.submit(row(value), None, 0, soon()) for value in range(4)]
        await asyncio.to_thread(model.began.wait)
        closing = asyncio.ensure_future(asyncio.to_thread(queue.close))
        model.may.set()
        assert [(await one)["y"][0, 0] for one in asked] == [0, 2, 4, 6]
        await closing

    run(test())


def test_a_session_gives_the_same_alone_and_joined(tmp_path: Path) -> None:
    folder = handmade.write(tmp_path / "scale")
    session, found = joining(folder)
    calls = [{"x": np.float32([[1, 2, 3]])}, {"x": np.float32([[4, 5, 6], [7, 8, 9]])}]
    parts = found.split(session.run(found.join(calls)), calls)
    assert [part["y"].tolist() for part in parts] == [[[2, 4, 6]], [[8, 10, 12], [14, 16, 18]]]
