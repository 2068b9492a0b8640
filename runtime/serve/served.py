"""A bundle that is being served: its session, what may be asked of it, and its queue."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from pathlib import Path
from typing import final

import numpy as np

from lamina.runtime import shapes
from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import InputError
from lamina.runtime.feeds import checked_inputs, first_sizes
from lamina.runtime.serve.decoder import Decoder
from lamina.runtime.serve.joining import joining_of
from lamina.runtime.serve.metrics import Metrics
from lamina.runtime.serve.probe import probed
from lamina.runtime.serve.read_infer import Asked
from lamina.runtime.serve.refused import Refused
from lamina.runtime.serve.scheduler import Scheduler
from lamina.runtime.serve.settings import Settings
from lamina.runtime.session import Session
from lamina.runtime.text import TextEncoder


@final
class Served:
    """Opened off the event loop, and used on it. `metrics` are told of its calls and tokens.

    BundleError, BackendMissing: as `Session`.
    """

    def __init__(self, name: str, version: str, folder: Path, settings: Settings, metrics: Metrics) -> None:
        self.name, self.version, self.limits = name, version, settings.limits
        self.session = Session(folder, settings.backend, threads=settings.threads)
        self.manifest = self.session.manifest
        self.texts = None if self.manifest.tokenizer is None else TextEncoder(folder, self.manifest)
        found = joining_of(self.manifest, self.limits.batch, None if self.texts is None else self.texts.padding)
        self.joining = None if found is None else probed(self.session, found)
        self.scheduler = Scheduler(
            lambda inputs, adapter: self.session.run(inputs, adapter=adapter),
            self.joining,
            self.limits,
            settings.workers,
            partial(metrics.called, name, version),
        )
        self.decoder = Decoder.of(self.session, settings, metrics.of_texts(name, version))
        self.drawing: str | None = None
        """The model as a Mermaid flowchart, once it was asked for; empty where it cannot be drawn."""
        self._users, self._idle = 0, asyncio.Event()
        self._idle.set()

    def __enter__(self) -> Served:
        """Hold it open: `retire` waits for all who do. For the event loop's thread."""
        self._users += 1
        self._idle.clear()
        return self

    def __exit__(self, *error: object) -> None:
        self._users -= 1
        if not self._users:
            self._idle.set()

    async def retire(self) -> None:
        """Close it when the last who holds it has let go; nobody may begin to hold it any more."""
        await self._idle.wait()
        await asyncio.to_thread(self.scheduler.close)
        if self.decoder is not None:
            await asyncio.to_thread(self.decoder.close)
        self.session.close()

    @property
    def joined(self) -> str:
        """Which requests are joined, in words."""
        if self.joining is None:
            return "none"
        return f"up to {self.joining.most} along {self.joining.dim}" + (", padded" if self.joining.padding else "")

    @property
    def texts_joined(self) -> str:
        """Which texts are written together, in words; empty where none is written."""
        return "" if self.decoder is None else str(self.decoder.joining)

    @property
    def told(self) -> dict[str, str]:
        """What the log says of it."""
        said = {"model": self.name, "version": self.version, "joined": self.joined}
        return said | ({"texts_joined": self.texts_joined} if self.decoder is not None else {})

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self.scheduler.waiting + (0 if self.decoder is None else self.decoder.waiting)

    @property
    def embedding(self) -> str | None:
        """The output that is one vector for each text; None if the tokenizer does not feed all, or there is none such or several."""
        if self.texts is None:
            return None
        batch = self.manifest.input(next(iter(self.texts.columns))).shape[0]
        found = [spec for spec in self.manifest.outputs if spec.dtype.startswith(("float", "bfloat"))]
        pooled = [spec.name for spec in found if len(spec.shape) == 2 and spec.shape[0] == batch and isinstance(spec.shape[1], int)]
        fed = {spec.name for spec in self.manifest.inputs} - self.manifest.supplied
        return pooled[0] if len(pooled) == 1 and fed == self.texts.columns.keys() and not self.manifest.states else None

    @property
    def most_texts(self) -> int:
        """How many texts are encoded for one call."""
        return max(1, min(self._most_rows, self.limits.batch))

    @property
    def _most_rows(self) -> int:
        how = self.manifest.tokenizer
        batch = self.manifest.input(how.ids).shape[0] if how else 1
        return batch if isinstance(batch, int) else self.manifest.dims[batch].max if batch in self.manifest.dims else 1

    def tokens(self, arrays: dict[str, Array]) -> int:
        """How many tokens the tokenizer made, without padding where a mask tells."""
        how = self.manifest.tokenizer
        if how is None:
            return 0
        return arrays[how.ids].size if how.mask is None else int(np.count_nonzero(arrays[how.mask]))

    async def submitted(self, asked: Asked, deadline: float) -> asyncio.Future[dict[str, Array]]:
        """The outputs that a request asks for, in time. Refused: what `encoded`, `checked` and the queue refuse."""
        inputs = asked.inputs | (await self.encoded(asked.texts) if asked.texts else {})
        arrays, answer = self.checked(inputs, asked.adapter)
        return self.scheduler.submit(arrays, asked.adapter, answer, deadline)

    def checked(self, inputs: dict[str, Array], adapter: str | None) -> tuple[dict[str, Array], int]:
        """The inputs as the model takes them, and the bytes of its answer. Refused: 400 with all that is wrong, 413."""
        try:
            arrays, sizes = checked_inputs(self.manifest, inputs, first_sizes(self.manifest, inputs))
        except InputError as error:
            raise Refused(400, str(error)) from None
        if adapter is not None and all(known.name != adapter for known in self.manifest.adapters):
            names = ", ".join(known.name for known in self.manifest.adapters) or "none"
            raise Refused(400, f"`{adapter}` is not an adapter of this model; it has {names}")
        answer = self._answer(sizes)
        if answer > self.limits.answer:
            raise Refused(413, f"the outputs would have {answer} bytes, and an answer may have {self.limits.answer}; ask for fewer rows")
        return arrays, answer

    def _answer(self, sizes: dict[str, int]) -> int:
        """The bytes of the outputs, as far as the dims of the inputs tell."""
        known = [spec for spec in self.manifest.outputs if all(shapes.names(size) <= sizes.keys() for size in spec.shape)]
        return sum(numpy_dtype(spec.dtype).itemsize * math.prod(shapes.evaluate(size, sizes) for size in spec.shape) for spec in known)

    async def encoded(self, texts: list[str]) -> dict[str, Array]:
        """Texts as the tokenizer's inputs, made off the event loop. Refused: 400, where they will not do."""
        if self.texts is None:
            raise Refused(400, f"the model `{self.name}` carries no tokenizer; give token ids as arrays")
        if len(texts) > self._most_rows:
            raise Refused(400, f"there are {len(texts)} texts, and the model takes at most {self._most_rows}")
        try:
            return await asyncio.get_running_loop().run_in_executor(None, self.texts, texts)
        except InputError as error:
            raise Refused(400, str(error)) from None
