"""The library's refusals as diagnostics at lines of the spec."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lamina.compiler.graph import Origin
from lamina.compiler.provenance import mentioned
from lamina.compiler.targets.tensorrt.library import Library
from lamina.schema.diagnostics import Diagnostic, Span

WHOLE = "an engine holds the whole graph or nothing: write this step with other ops, or compile it for `onnxruntime` or `torch`"
ASSERTION = re.compile(r"^Assertion failed: .*?: (.*)$")
QUOTED = re.compile(r"&& (\".*\")$")  # a condition, and then what it means in one or more strings
LOOP = re.compile(r"Unnamed Loop\* (\d+)")
API_ERROR = re.compile(r"Error Code \d+: [^(]*\((.*?)(?: In \S+ at \S+.*)?\)?$")


@dataclass(frozen=True, slots=True)
class Places:
    """Where the nodes of an ONNX file came from, and the sources to fall back on."""

    origins: Mapping[str, Origin]
    sources: Mapping[str, str]
    loops: Sequence[str] = ()  # the names of loops, in order

    def find(self, name: str) -> Origin:
        """The origin of the node, else of the nearest one whose name starts the same way, else the model's first line."""
        while name:
            if name in self.origins:
                return self.origins[name]
            near = next((o for n, o in self.origins.items() if n.startswith((f"{name}/", f"{name}."))), None)
            if near is not None:
                return near
            name = name[: max(name.rfind("/"), name.rfind("."), 0)]
        return Origin(Span(next(iter(self.sources), "model"), 1, 1), "")

    def mentioned(self, text: str) -> str:
        """The longest node name that stands in a text as a word of its own, else the loop that it counts to, or an empty string."""
        counted = [int(n) for n in LOOP.findall(text)]
        return mentioned(text, self.origins) or next((self.loops[n] for n in reversed(counted) if n < len(self.loops)), "")


def float64(library: Library, names: Mapping[str, str], places: Places) -> tuple[Diagnostic, ...]:
    """One diagnostic for each tensor of float64, at the node to name for it."""
    hint = "make it float32: that is what the library would compute in, without a word"
    found = ((name, places.find(at)) for name, at in names.items())
    return tuple(Diagnostic("tensorrt", f"{library} has no float64, which `{n}` is{_in(at)}", at.span, hint) for n, at in found)


def refused(library: Library, refusals: Iterable[Mapping[str, Any]], places: Places) -> tuple[Diagnostic, ...]:
    """One diagnostic for each thing that the parser refuses; the same refusal at the same place is said once."""
    said: dict[tuple[Span, str], Diagnostic] = {}
    for refusal in refusals:
        origin = places.find(refusal["node"])
        message = _message(library, refusal)
        said.setdefault((origin.span, message), Diagnostic("tensorrt", message + _in(origin), origin.span, WHOLE))
    return tuple(sorted(said.values(), key=lambda d: (d.span.file, d.span.line, d.span.column)))


def failed(library: Library, log: Sequence[str], places: Places) -> Diagnostic:
    """The diagnostic for a graph that parsed, but of which no engine came: at the node that the log names, if it names one."""
    reasons = [r for r in (reason(line) for line in log) if r]
    origin = places.find(next(filter(None, map(places.mentioned, reasons)), ""))
    message = f"{library} takes the operators but cannot build the engine: {'; '.join(reasons) or 'it gives no reason'}{_in(origin)}"
    return Diagnostic("tensorrt", message, origin.span, "check that every value in the declared `dims` ranges is possible here")


def reason(text: str) -> str:
    """What the library says, without its source positions and without the driver errors that every failure drags along."""
    kept = [
        line for line in text.splitlines() if "cudaError" not in line and "Cuda Runtime" not in line and not line.startswith("Invalid Node")
    ]
    line = " ".join(kept).strip()
    if found := QUOTED.search(line):
        return re.sub(r"\" ?\"?", "", found.group(1)).rstrip(".!")
    if found := ASSERTION.search(line) or API_ERROR.search(line):
        line = found.group(1)
    return line.rstrip(".!")


def _in(origin: Origin) -> str:
    return f" (in `{origin.path}`)" if origin.path else ""


def _message(library: Library, refusal: Mapping[str, Any]) -> str:
    if refusal["input"]:
        return f"{library} refuses the input `{refusal['input']}`: {reason(refusal['reason'])}"
    if not refusal["op"]:
        return f"{library} cannot read the model: {reason(refusal['reason'])}"
    if not refusal["known"]:
        return f"{library} has no `{refusal['op']}`, which this step needs"
    return f"{library} refuses `{refusal['op']}`, which this step needs: {reason(refusal['reason'])}"
