"""Texts that wait: what is refused, who leaves, what ends late, and what a full memory holds back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from paced import Paced, paced
from small_decoders import alone, decoder

from lamina.runtime import Session
from lamina.runtime.dtypes import Array
from lamina.runtime.generation.joinable import Memory
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.session_steps import StreamSteps
from lamina.runtime.serve.decoder import Decoder
from lamina.runtime.serve.metrics import Metrics
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.settings import Limits, Settings

PROMPTS = [[5, 7, 9], [8], [20, 21, 22, 23], [90, 2], [61, 3]]
MOST = 12


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session(decoder(tmp_path_factory.mktemp("queue"), "attention"), threads=1) as found:
        yield found


@asynccontextmanager
async def writer(session: Session, **limits: int) -> AsyncIterator[Decoder]:
    found = await asyncio.to_thread(Decoder.of, session, Settings(limits=Limits(**limits)), Metrics().of_texts("m", "1"))
    assert found is not None
    yield found
    await asyncio.to_thread(found.close)


async def write(made: Decoder, prompt: list[int], tokens: int = MOST, seconds: float = 20) -> tuple[int, ...]:
    """The tokens of a text."""
    pieces = made.pieces(lambda: [prompt], Generation(max_new_tokens=tokens), time.monotonic() + seconds)
    ids = [piece.ids async for piece in pieces]
    return tuple(token for each in ids for token in each)


async def waits(made: Decoder, texts: int) -> None:
    """Return when so many wait, which their prompts have been made tokens for."""
    async with asyncio.timeout(20):
        while len(made._queue._waiting) != texts:
            await asyncio.sleep(0.002)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


async def begun(made: Decoder, steps: Paced, prompts: list[list[int]]) -> list[asyncio.Task[tuple[int, ...]]]:
    """Texts that are all being written: the first step of all of them has begun."""
    tasks = [asyncio.ensure_future(write(made, prompts[0]))]
    await asyncio.to_thread(steps.until, 1)
    tasks += [asyncio.ensure_future(write(made, prompt)) for prompt in prompts[1:]]
    await waits(made, len(prompts) - 1)
    await asyncio.to_thread(steps.one_more)
    assert steps.rows[-1] == len(prompts)
    return tasks


def expected(session: Session, *numbers: int) -> list[tuple[int, ...]]:
    return [alone(session, PROMPTS[one], max_new_tokens=MOST).ids for one in numbers]


def test_whoever_leaves_makes_room(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with writer(session, batch=2) as made:
            with paced(monkeypatch) as steps:
                first, second = await begun(made, steps, PROMPTS[:2])
                third = asyncio.ensure_future(write(made, PROMPTS[2]))
                await waits(made, 1)
                await asyncio.to_thread(steps.one_more)
                assert made.waiting == 1  # there are two, which is all
                first.cancel()
                await asyncio.wait({first})
                await asyncio.to_thread(steps.one_more)
                assert (made.waiting, steps.rows[-1]) == (0, 2)
            assert [await second, await third] == expected(session, 1, 2)

    run(test())


def test_what_is_too_late_is_not_written_on(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with writer(session, batch=4) as made:
            with paced(monkeypatch) as steps:
                (going,) = await begun(made, steps, PROMPTS[:1])
                late = asyncio.ensure_future(write(made, PROMPTS[1], seconds=0.5))
                never = asyncio.ensure_future(write(made, PROMPTS[2], seconds=0.5))
                await waits(made, 2)
                await asyncio.to_thread(steps.one_more)
                assert steps.rows[-1] == 3
                for one in (late, never):
                    with pytest.raises(Refused, match="the text did not end in time") as caught:
                        await one
                    assert caught.value.status == 504
                await asyncio.to_thread(steps.one_more)
                assert steps.rows[-1] == 1
            assert [await going] == expected(session, 0)

    run(test())


def test_too_many_are_refused(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with writer(session, batch=2, queue=2) as made:
            with paced(monkeypatch) as steps:
                tasks = await begun(made, steps, PROMPTS[:2])
                tasks += [asyncio.ensure_future(write(made, prompt)) for prompt in PROMPTS[2:4]]
                await waits(made, 2)
                with pytest.raises(Refused, match="2 requests for texts wait for this model, and no more may") as caught:
                    await write(made, PROMPTS[4])
                assert (caught.value.status, caught.value.retry_after) == (503, 1)
                tasks[-1].cancel()  # whoever leaves makes room
                await asyncio.wait({tasks.pop()})
                tasks.append(asyncio.ensure_future(write(made, PROMPTS[4])))
                await waits(made, 2)
            assert [await one for one in tasks] == expected(session, 0, 1, 2, 4)

    run(test())


def test_what_would_begin_too_late_is_refused_at_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with writer(session, batch=2) as made:
            made._queue._pace.took(1, 60.0)
            with paced(monkeypatch) as steps:
                tasks = await begun(made, steps, PROMPTS[:2])
                tasks.append(asyncio.ensure_future(write(made, PROMPTS[2])))
                await waits(made, 1)
                with pytest.raises(Refused, match=r"the texts before this one take 30\.0 s, so it would come too late") as caught:
                    await write(made, PROMPTS[3])
                assert caught.value.retry_after == 30
            await asyncio.gather(*tasks)

    run(test())


def test_states_have_no_more_than_the_memory(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two texts of up to 14 tokens that are read have room, three do not; a text that is alone has, however large."""
    place = 2 * 2 * 2 * 8 * 4  # keys and values of two layers, two heads, eight numbers of four bytes
    assert Memory.of(session.manifest) == Memory(fixed=0, place=place)

    async def test() -> None:
        for cache, most in ((2 * 15 * place, 2), (1, 1)):
            async with writer(session, batch=8, cache=cache) as made:
                with paced(monkeypatch) as steps:
                    tasks = [asyncio.ensure_future(write(made, prompt)) for prompt in PROMPTS]
                    await waits(made, len(PROMPTS) - most)
                found = [await one for one in tasks]
                assert max(steps.rows) == most
                assert found == expected(session, 0, 1, 2, 3, 4)
            monkeypatch.undo()

    run(test())


def test_closing_writes_what_was_accepted(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with writer(session, batch=2) as made:
            with paced(monkeypatch) as steps:
                tasks = await begun(made, steps, PROMPTS[:2])
                tasks += [asyncio.ensure_future(write(made, prompt)) for prompt in PROMPTS[2:]]
                await waits(made, 3)
                closing = asyncio.ensure_future(asyncio.to_thread(made.close))
                await asyncio.sleep(0.01)
            assert [await one for one in tasks] == expected(session, 0, 1, 2, 3, 4)
            await closing

    run(test())


def test_a_step_that_fails_ends_its_texts_and_no_others(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = StreamSteps.step

    def step(steps: StreamSteps, ids: Array) -> Array:
        if len(ids) == 2:
            raise RuntimeError("broken")
        return whole(steps, ids)

    async def test() -> None:
        async with writer(session, batch=2) as made:
            monkeypatch.setattr(StreamSteps, "step", step)
            pair = made.pieces(lambda: PROMPTS[:2], Generation(max_new_tokens=MOST), time.monotonic() + 20)
            with pytest.raises(Refused, match="the text cannot be written; the server's log says why"):
                [piece async for piece in pair]
            assert [await write(made, PROMPTS[2])] == expected(session, 2)

    run(test())
