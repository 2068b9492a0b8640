"""What ranges values have on a user's data: the float32 file runs with those values as outputs."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from lamina.compiler.passes.quantize_layers import Ranges
from lamina.compiler.targets.onnxruntime import session_of
from lamina.runtime.batches import read_batches
from lamina.runtime.errors import InputError
from lamina.runtime.manifest import read_manifest
from lamina.runtime.rooms import Rooms

Array = np.ndarray[Any, Any]
Method = Literal["minmax", "percentile", "entropy"]
_BINS = {"percentile": 2**17, "entropy": 2**11}  # with few, one number that is far leaves one bin for all others; entropy tries each
_CODES, _PERCENTILE = 128, 99.99


@final
@dataclass(frozen=True, slots=True)
class Calibration:
    """Where ranges come from: paths as `read_batches` takes them, or one file that `written` made; and what writes the bundle to run."""

    data: tuple[str | Path, ...]
    method: Method
    plain: Callable[[Path], Path]

    def ranges(self, names: Sequence[str]) -> Ranges:
        """The range of each value. InputError if the data will not do."""
        if len(self.data) == 1 and Path(self.data[0]).suffix == ".json":
            return read_ranges(Path(self.data[0]), names)
        with tempfile.TemporaryDirectory() as folder:
            bundle = self.plain(Path(folder) / "plain")
            return observed_ranges(bundle, names, read_batches(self.data, bundle, read_manifest(bundle)), self.method)


def observed_ranges(bundle: Path, names: Sequence[str], calls: Iterable[Mapping[str, Array]], method: Method) -> Ranges:
    """The range of each value over the calls, from a bundle's `onnxruntime` file.

    `minmax` is the least and the greatest number; `percentile` leaves a ten-thousandth out, and `entropy` cuts where the histogram of
    codes is nearest to that of the numbers: both are ONNX Runtime's. InputError if there are no calls or a value is not finite.
    """
    import onnx

    manifest = read_manifest(bundle)
    target = manifest.targets.onnxruntime
    assert target is not None
    proto = onnx.load(bundle / target.file, load_external_data=False)
    session, rooms = session_of(proto, bundle, names), Rooms(manifest, target.preallocated)
    wanted = {i.name for i in session.get_inputs()}
    collected = _Collected(method)
    for call in calls:
        feeds = {name: array for name, array in rooms.with_room(call).items() if name in wanted}
        collected.add(dict(zip(names, session.run(list(names), feeds), strict=True)))
    return collected.ranges()


class _Collected:
    """The least and greatest numbers of values so far, and their histograms where the method needs them."""

    def __init__(self, method: Method) -> None:
        self._method, self._extremes = method, dict[str, tuple[float, float]]()
        self._histograms: Any = None
        if method != "minmax":
            from onnxruntime.quantization.calibrate import HistogramCollector

            self._histograms = HistogramCollector(method, False, _BINS[method], _CODES, _PERCENTILE, "same")

    def add(self, values: Mapping[str, Array]) -> None:
        for name, array in values.items():
            if not np.isfinite(array).all():
                raise InputError(f"the calibration data make `{name}` infinite or NaN, so it has no range")
            if array.size:
                low, high = self._extremes.get(name, (np.inf, -np.inf))
                self._extremes[name] = (min(low, float(array.min())), max(high, float(array.max())))
        if self._histograms is not None:
            with redirect_stdout(io.StringIO()):  # the library prints as it goes
                self._histograms.collect({name: array for name, array in values.items() if array.size and array.any()})

    def ranges(self) -> Ranges:
        if not self._extremes:
            raise InputError("the calibration data hold no call")
        if self._histograms is None:
            return self._extremes
        with redirect_stdout(io.StringIO()):
            found = self._histograms.compute_collection_result()
        return {name: _within(extremes, found.get(name, extremes)) for name, extremes in self._extremes.items()}


def _within(extremes: tuple[float, float], cut: Sequence[Any]) -> tuple[float, float]:
    """A range, no wider than the numbers that were seen."""
    return max(extremes[0], float(cut[0])), min(extremes[1], float(cut[1]))


def written(ranges: Ranges) -> str:
    """The text of a file that `read_ranges` reads."""
    return json.dumps({"ranges": {name: list(bounds) for name, bounds in ranges.items()}}, indent=1) + "\n"


def read_ranges(path: Path, names: Sequence[str]) -> Ranges:
    """The ranges of these values, as another bundle's file holds them. InputError if it holds others."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))["ranges"]
        found = {name: (float(held[name][0]), float(held[name][1])) for name in names}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(f"{path} does not hold the ranges of this model's values ({error}); calibrate with data instead") from error
    if not all(map(isfinite, (bound for bounds in found.values() for bound in bounds))):
        raise InputError(f"{path} holds ranges that are not finite; calibrate with data instead")
    return found
