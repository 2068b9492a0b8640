"""What runs a target's file. `ort.py`, `trt.py` and `torch.py` each hold the final class of one library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lamina.runtime.carrier import Carrier
from lamina.runtime.dtypes import Array
from lamina.runtime.tuning import Settings


@dataclass(frozen=True, slots=True)
class Options:
    """How to run. None leaves the choice to the library.

    `providers` are ONNX Runtime's, in order of preference, and `provider_options` theirs, one each.
    `threads` is how many CPU threads one call uses. `settings` are of ONNX Runtime on the CPU, in place of those that the bundle was tuned
    to. `trace` is a folder for what ONNX Runtime writes of the calls (`ort.traced`).
    """

    providers: Sequence[str] | None = None
    provider_options: Sequence[Mapping[str, str]] | None = None
    threads: int | None = None
    trace: Path | None = None
    settings: Settings | None = None


class Backend(ABC):
    """Runs arrays that were checked against the manifest. Safe to call from several threads."""

    @abstractmethod
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Contiguous arrays by input name -> arrays by output name, both in the manifest's order. InputError if it cannot run them."""

    @abstractmethod
    def carrier(self, beside: Mapping[str, Array]) -> Carrier:
        """Holds the states of one stream of calls, all of which are fed with what stands beside."""

    @abstractmethod
    def close(self) -> None:
        """Give the memory back. The backend is not used again."""
