"""A bundle that reads whole prompts, once, for a decoder that writes from what it makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np

from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import BundleError, InputError
from lamina.runtime.generation.prompts import check
from lamina.runtime.generation.token_inputs import fed, listed, longest, token_inputs
from lamina.runtime.generation.vocabulary import Vocabulary
from lamina.runtime.manifest import Tensor
from lamina.runtime.session import Session
from lamina.runtime.text import padded_length


@final
class Encoder:
    """Reads tokens, their mask, and as `types` zeros: all of a prompt is one text. Prompts are padded as the tokenizer says.

    `outputs` is what it makes of prompts, `tensors` that and what it is fed, by name. BundleError if it takes anything else.
    """

    def __init__(self, session: Session) -> None:
        self._session, manifest, inputs = session, session.manifest, fed(session.manifest)
        ids, self._mask = token_inputs(manifest, inputs)
        if ids is None or len(ids.shape) != 2:
            raise BundleError(f"the encoder {session.folder} does not say which input takes the tokens: it takes {listed(inputs.values())}")
        self._ids, self._types = ids, inputs.get((manifest.tokenizer and manifest.tokenizer.types) or "")
        taken = [spec for spec in (self._ids, self._mask, self._types) if spec is not None]
        if others := [spec for spec in inputs.values() if spec not in taken]:
            raise BundleError(f"the encoder {session.folder} takes {listed(others)} beside tokens, which a prompt does not give")
        self.outputs: Mapping[str, Tensor] = {spec.name: spec for spec in manifest.outputs}
        self.tensors: Mapping[str, Tensor] = {**{spec.name: spec for spec in taken}, **self.outputs}
        vocabulary = Vocabulary.of(session.folder, manifest)
        self._padding = {} if vocabulary is None else vocabulary.padding

    def __call__(self, prompts: Sequence[Sequence[int]]) -> dict[str, Array]:
        """The arrays of `tensors` for prompts of these tokens, a row for each. InputError for prompts that will not do."""
        manifest, size = self._session.manifest, self._ids.shape[1]
        check(prompts, longest(manifest, self._ids))
        length = padded_length(max(map(len, prompts)), size, manifest)
        mask = np.array([self._row([1] * len(prompt), length, 0) for prompt in prompts])
        if self._mask is None and not mask.all():
            lengths = ", ".join(str(len(prompt)) for prompt in prompts)
            raise InputError(
                f"the encoder takes no mask, so prompts of {lengths} tokens cannot be padded to {length}; give together those of one length"
            )
        ids = np.array([self._row(prompt, length, self._padding.get("pad_id", 0)) for prompt in prompts])
        inputs = ((self._ids, ids), (self._mask, mask), (self._types, np.zeros_like(ids)))
        feeds = {spec.name: array.astype(numpy_dtype(spec.dtype)) for spec, array in inputs if spec is not None}
        return feeds | self._session.run(feeds)

    def _row(self, values: Sequence[int], length: int, padding: int) -> list[int]:
        rest = [padding] * (length - len(values))
        return [*rest, *values] if self._padding.get("direction") == "left" else [*values, *rest]
