"""How long each step takes, and how much memory it fills: ONNX Runtime's own profile of a bundle, told by the steps of the spec."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import numpy as np

from lamina.compiler.adapters import adapted_weights, with_adapters
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Origin
from lamina.fused import Made, fused
from lamina.located import node_origins
from lamina.runtime.backend import Options
from lamina.runtime.errors import BundleError
from lamina.runtime.feeds import checked
from lamina.runtime.integrity import check_hashes
from lamina.runtime.manifest import Manifest, OnnxTarget, read_manifest
from lamina.runtime.ort import OrtBackend, traced
from lamina.runtime.samples import chosen_dims, sample_inputs
from lamina.schema.spec import ModelSpec

Array = np.ndarray[Any, Any]
T = TypeVar("T")
_WARMUP, _CALLS, _SECONDS = 3, (8, 40), 2.0
_NODE = "_kernel_time"  # ends the names of what a trace says of nodes


@dataclass(frozen=True, slots=True)
class Row:
    """A node that the runtime runs: its time without that of its bodies, how often it runs and the bytes of its outputs, in one call.

    It stands for the steps of `origins`, the one first that it is named for. `added`: it stands for none, but moves what they make into
    a form that the runtime likes.
    """

    name: str
    op: str
    milliseconds: float
    calls: int
    bytes: int
    origins: tuple[Origin, ...]
    added: bool


@dataclass(frozen=True, slots=True)
class Profile:
    """Rows, and the milliseconds of a call as a whole, with the profiler and without it.

    All are means over the fastest quarter of the calls, so that rows add up, and what else the machine does counts little.
    """

    target: str
    sizes: Mapping[str, int]
    rows: tuple[Row, ...]
    milliseconds: float
    unprofiled: float
    calls: int

    @property
    def between(self) -> float:
        """What the runtime spends between nodes."""
        return self.milliseconds - sum(row.milliseconds for row in self.rows)


def profile(
    folder: Path,
    spec: ModelSpec,
    at: Mapping[str, int],
    target: str | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> Profile:
    """Run a bundle's ONNX file on random inputs at these sizes (other dims at their `opt`), on the CPU.

    `spec` is what the bundle was compiled from, or its own. Raises InputError for sizes that will not do, BundleError for a bundle that has
    no such target.
    """
    manifest, model = read_manifest(folder), elaborate(spec)
    if manifest.adapters:
        model = with_adapters(model, adapted_weights([tensor.name for tensor in manifest.inputs]))
    chosen, built = _target(folder, manifest, target)
    check_hashes(folder, manifest.files, manifest.files_of(chosen))
    inputs = checked(manifest, sample_inputs(manifest, at))
    progress("time the model")
    seconds = _timed(folder, manifest, built, inputs)
    progress("profile the model")
    with tempfile.TemporaryDirectory() as trace:
        _timed(folder, manifest, built, inputs, Path(trace))
        graph, events = traced(Path(trace))
        made = _made(folder / built.file, graph)
        calls = _calls(json.loads(events.read_text(encoding="utf-8")))[_WARMUP:]
    fastest = _fastest(calls, key=lambda call: call.milliseconds)
    rows = _rows(fastest, made, node_origins(folder / built.file, model, chosen, built.left_out))
    whole, unprofiled = fmean(call.milliseconds for call in fastest), 1e3 * fmean(_fastest(seconds, key=float))
    return Profile(chosen, chosen_dims(manifest, at), rows, whole, unprofiled, len(calls))


def _fastest(calls: Sequence[T], key: Callable[[T], float]) -> list[T]:
    """The fastest quarter."""
    return sorted(calls, key=key)[: max(1, len(calls) // 4)]


def _target(folder: Path, manifest: Manifest, target: str | None) -> tuple[str, OnnxTarget]:
    built = {name: found for name, found in manifest.targets.built().items() if isinstance(found, OnnxTarget)}
    for name in ("onnxruntime", "onnx") if target is None else (target,):
        if name in built:
            return name, built[name]
    asked = f"the target {target}" if target else "an ONNX file"
    raise BundleError(f"{folder} holds {', '.join(manifest.targets.built())}, and a profile needs {asked}, which ONNX Runtime can run")


def _timed(folder: Path, manifest: Manifest, built: OnnxTarget, inputs: Mapping[str, Array], trace: Path | None = None) -> list[float]:
    """Seconds of each call, after those of warm-up."""
    backend = OrtBackend(folder / built.file, manifest, built, Options(["CPUExecutionProvider"], trace=trace))
    found: list[float] = []
    least, most = _CALLS
    while len(found) < least + _WARMUP or (len(found) < most + _WARMUP and sum(found) < _SECONDS):
        start = time.perf_counter()
        backend.run(inputs)
        found.append(time.perf_counter() - start)
    backend.close()
    return found[_WARMUP:]


@dataclass(slots=True)
class _Event:
    """A run of a node, in microseconds; `inside` is what of them its bodies' nodes took."""

    name: str
    op: str
    start: int
    end: int
    bytes: int
    inside: int = 0

    @property
    def milliseconds(self) -> float:
        return (self.end - self.start - self.inside) / 1e3


@dataclass(slots=True)
class _Call:
    """One call of the model."""

    milliseconds: float
    events: list[_Event] = field(default_factory=list)


def _calls(events: Iterable[Mapping[str, Any]]) -> list[_Call]:
    """The calls of a trace, in order, each with the runs of its nodes."""
    ends = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("name") == "model_run")
    calls = [_Call((end - start) / 1e3) for start, end in ends]
    found = sorted((_event(e) for e in events if e.get("cat") == "Node" and e["name"].endswith(_NODE)), key=lambda e: (e.start, -e.end))
    number, around = 0, list[_Event]()
    for event in found:
        while number < len(ends) and event.start > ends[number][1]:
            number += 1
        if number == len(ends):
            break  # of a call that the trace has no end of
        while around and around[-1].end <= event.start:
            around.pop()
        if around:
            around[-1].inside += event.end - event.start
        around.append(event)
        calls[number].events.append(event)
    return calls


def _event(found: Mapping[str, Any]) -> _Event:
    args = found["args"]
    return _Event(
        found["name"].removesuffix(_NODE), args["op_name"], found["ts"], found["ts"] + found["dur"], int(args.get("output_size", 0))
    )


def _rows(calls: Sequence[_Call], made: Mapping[str, Made], origins: Mapping[str, Origin]) -> tuple[Row, ...]:
    found: dict[tuple[str, str], list[_Event]] = {}
    for event in (event for call in calls for event in call.events):
        found.setdefault((event.name, event.op), []).append(event)
    return tuple(_row(events, len(calls), made.get(name, Made((), added=True)), origins) for (name, _), events in found.items())


def _row(events: Sequence[_Event], calls: int, stands: Made, origins: Mapping[str, Origin]) -> Row:
    spent, filled = sum(event.milliseconds for event in events) / calls, sum(event.bytes for event in events) / calls
    steps = tuple(dict.fromkeys(origins[node] for node in stands.nodes))
    return Row(events[0].name, events[0].op, spent, round(len(events) / calls), round(filled), steps, stands.added)


def _made(file: Path, graph: Path) -> dict[str, Made]:
    import onnx

    return fused(onnx.load(file, load_external_data=False), onnx.load(graph, load_external_data=False))
