"""What `lamina compile --tune` measured and chose, as manifest.json records it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from lamina.runtime.strict import Name, Positive, Strict

Text = Annotated[str, Field(max_length=1000)]


class Settings(Strict):
    """How an ONNX Runtime session is set up; by default as it does by itself.

    `threads` of one call; `spinning`: they wait for work without sleeping; `arena`: memory is kept for the next call, and with
    `memory_pattern` planned as one block; `parallel`: nodes run side by side; `optimisation` of its graph; `sizes` of dims that hold for
    nearly all calls: these run in a session of fixed shapes, others in one beside it.
    """

    threads: Annotated[int, Field(ge=1, le=4096)] | None = None
    spinning: bool = True
    arena: bool = True
    memory_pattern: bool = True
    parallel: bool = False
    optimisation: Literal["basic", "extended", "all"] = "all"
    sizes: Mapping[Name, Positive] = {}


class Trial(Strict):
    """An alternative that was tried: how many times as fast it was as what had been chosen before it, the median over rounds with the 10th
    and 90th percentile. It is `kept` where the 10th is above 1. One that cannot run, or computes something else, is `refused`."""

    what: Text
    ratio: float = 0.0
    low: float = 0.0
    high: float = 0.0
    kept: bool = False
    refused: Text = ""

    def __str__(self) -> str:
        if self.refused:
            return f"refused  {self.what}: {self.refused}"
        return f"{'kept' if self.kept else 'no':<8} {self.what}: {self.ratio:.2f}x ({self.low:.2f} to {self.high:.2f})"


class Tuning(Strict):
    """The choice: `settings`, and `left_out`, the passes and the forms of ops (`attention.operator`) that the file is written without.

    `at` are the sizes that it was measured at, on a `processor` with such `features` and `cores`, with this version of `onnxruntime`.
    """

    settings: Settings = Settings()
    left_out: Annotated[tuple[Name, ...], Field(max_length=1000)] = ()
    at: Mapping[Name, int] = {}
    processor: Text
    features: Annotated[tuple[Name, ...], Field(max_length=1000)]
    cores: Positive
    onnxruntime: Text
    trials: Annotated[tuple[Trial, ...], Field(max_length=1000)] = ()

    @property
    def is_here(self) -> bool:
        """Whether this machine has the same instructions and cores, so that what was fastest there is likely to be so here."""
        from lamina.runtime import machine

        return (self.features, self.cores) == (machine.features(), machine.cores())
