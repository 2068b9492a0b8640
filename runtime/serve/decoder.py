"""Texts of one model: requests join those that are being written, where that is sound."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import final

from lamina.runtime.errors import BundleError, InputError
from lamina.runtime.generation.joinable import Memory
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.running import Running
from lamina.runtime.generation.session_steps import steps_of
from lamina.runtime.generation.texts import Piece
from lamina.runtime.generation.vocabulary import Vocabulary
from lamina.runtime.generation.writing import Writing, writings
from lamina.runtime.serve.metrics import TextMetrics
from lamina.runtime.serve.probe_texts import TextJoining, probed_texts
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.settings import Settings
from lamina.runtime.serve.text_queue import Asked, Entry, TextQueue
from lamina.runtime.serve.text_writer import TextWriter
from lamina.runtime.session import Session

Read = Callable[[], Sequence[Sequence[int]]]
_READERS = 4  # a chat template runs in a process of its own, which its reader waits for


@final
class Decoder:
    """For the event loop's thread. Each of the model's workers writes texts, up to `joining.most` at a time."""

    def __init__(self, session: Session, vocabulary: Vocabulary, joining: TextJoining, settings: Settings, metrics: TextMetrics) -> None:
        self.vocabulary, self.joining, steps = vocabulary, joining, steps_of(session)
        self.room = steps.room
        self._below = steps.below
        self._eos: Sequence[int] = session.manifest.tokenizer.eos if session.manifest.tokenizer else ()
        self._queue = TextQueue(joining.most, settings.workers, Memory.of(session.manifest), settings.limits)
        self._readers = ThreadPoolExecutor(_READERS, "lamina-prompts")
        writers = [TextWriter(lambda: Running(session, joining.together), self._queue, metrics) for _ in range(settings.workers)]
        self._threads = [threading.Thread(target=writer.run, daemon=True, name="lamina-texts") for writer in writers]
        for thread in self._threads:
            thread.start()

    @classmethod
    def of(cls, session: Session, settings: Settings, metrics: TextMetrics) -> Decoder | None:
        """None where the bundle is no decoder of tokens, or carries no tokenizer."""
        vocabulary = Vocabulary.of(session.folder, session.manifest)
        if vocabulary is None or not session.manifest.states:
            return None
        try:
            steps_of(session)
        except (BundleError, InputError):
            return None
        return cls(session, vocabulary, probed_texts(session, settings.limits.batch), settings, metrics)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._queue.waiting

    async def pieces(self, read: Read, options: Generation, deadline: float) -> AsyncGenerator[Piece]:
        """What the texts grow by, until they have ended or `deadline` (of `time.monotonic`); closing it ends them.

        `read` gives the tokens of the prompts, off the event loop. Refused: 400 for what will not do, 503 where too many wait, 504 past the
        deadline.
        """
        asked = Asked(deadline)
        entries = await self._entered(asked, read, options)
        going = len(entries)
        try:
            while going:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):  # `wait_for` of Python 3.11 may lose a cancellation
                    one = await asked.found.get()
                if isinstance(one, Refused):
                    raise one
                going -= one.whole is not None
                yield one
        except TimeoutError:
            raise Refused(504, "the text did not end in time") from None
        finally:
            asked.left = True

    def close(self) -> None:
        """Write what waits, and end. Blocks until then."""
        self._readers.shutdown()
        self._queue.close()
        for thread in self._threads:
            thread.join()

    async def _entered(self, asked: Asked, read: Read, options: Generation) -> list[Entry]:
        """The texts of a request, once they wait."""
        self._queue.admit(asked.deadline)
        try:
            texts = await asyncio.get_running_loop().run_in_executor(self._readers, self._texts, read, options)
        except InputError as error:
            self._queue.turn_away()
            raise Refused(400, str(error)) from None
        except BaseException:
            self._queue.turn_away()
            raise
        entries = [Entry(text, asked) for text in texts]
        self._queue.put(entries)
        return entries

    def _texts(self, read: Read, options: Generation) -> list[Writing]:
        return writings(read(), options, self._eos, self.vocabulary, self.room, self._below)
