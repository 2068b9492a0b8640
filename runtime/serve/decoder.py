"""Texts of one model: each request by a thread of its own, as many at a time as the model has workers."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import final

from lamina.runtime.errors import BundleError, InputError
from lamina.runtime.generation.generate import GivenPrompts, Piece, stream
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.session_steps import steps_of
from lamina.runtime.generation.vocabulary import Vocabulary
from lamina.runtime.serve.refused import Refused
from lamina.runtime.session import Session

_LOG = logging.getLogger("lamina.serve")


@final
class Decoder:
    """A prompt cannot join a batch that has begun, as `Steps.start` reads all prompts at once: requests wait for a worker instead.

    For the event loop's thread. `wrote` is told of tokens.
    """

    def __init__(self, session: Session, vocabulary: Vocabulary, workers: int, queue: int, wrote: Callable[[int], None]) -> None:
        self._session, self._vocabulary, self._wrote = session, vocabulary, wrote
        self._eos: Sequence[int] = session.manifest.tokenizer.eos if session.manifest.tokenizer else ()
        self._pool = ThreadPoolExecutor(workers, "lamina-texts")
        self._most, self._active = workers + queue, 0

    @classmethod
    def of(cls, session: Session, workers: int, queue: int, wrote: Callable[[int], None]) -> Decoder | None:
        """None where the bundle is no decoder of tokens, or carries no tokenizer."""
        vocabulary = Vocabulary.of(session.folder, session.manifest)
        if vocabulary is None or not session.manifest.states:
            return None
        try:
            steps_of(session)
        except (BundleError, InputError):
            return None
        return cls(session, vocabulary, workers, queue, wrote)

    async def pieces(self, prompts: GivenPrompts, options: Generation, deadline: float) -> AsyncGenerator[Piece]:
        """What the texts grow by, until they have ended or `deadline` (of `time.monotonic`); closing it ends them.

        Refused: 400 for what will not do, 503 where too many wait, 504 past the deadline.
        """
        if self._active >= self._most:
            raise Refused(503, f"{self._active} requests for texts wait for this model, and no more may", 1)
        found: asyncio.Queue[Piece | Exception | None] = asyncio.Queue()
        loop, ended = asyncio.get_running_loop(), threading.Event()
        self._active += 1
        work = loop.run_in_executor(
            self._pool, self._write, prompts, options, ended, lambda one: loop.call_soon_threadsafe(found.put_nowait, one)
        )
        work.add_done_callback(self._let_go)
        try:
            while (one := await asyncio.wait_for(found.get(), max(0.0, deadline - time.monotonic()))) is not None:
                if isinstance(one, Exception):
                    raise one
                self._wrote(len(one.ids))
                yield one
        except TimeoutError:
            raise Refused(504, "the text did not end in time") from None
        finally:
            ended.set()
            work.cancel()

    def close(self) -> None:
        """End when no text is written any more. Blocks until then."""
        self._pool.shutdown()

    def _let_go(self, _: object) -> None:
        self._active -= 1

    def _write(
        self, prompts: GivenPrompts, options: Generation, ended: threading.Event, give: Callable[[Piece | Exception | None], object]
    ) -> None:
        """In a worker: every piece, and None behind the last; or what went wrong."""
        try:
            for piece in stream(steps_of(self._session), self._vocabulary, prompts, options, self._eos):
                if ended.is_set():
                    return
                give(piece)
            give(None)
        except InputError as error:
            give(Refused(400, str(error)))
        except Exception as error:
            _LOG.exception("a text cannot be written")
            give(error)
