"""A checkpoint bound to a model's parameters: all of them, or one error that says everything that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from lamina.compiler.graph import Parameter
from lamina.compiler.weights.blocks import BlockQuantized
from lamina.compiler.weights.demands import Demands
from lamina.compiler.weights.files import read_tensors, weights_file
from lamina.compiler.weights.finite import checked
from lamina.compiler.weights.join import Whole, wholes
from lamina.compiler.weights.metadata import check_metadata
from lamina.compiler.weights.rename import Move, Renamer
from lamina.compiler.weights.tensor import Tensor, cast, fixed_shape, renamed
from lamina.schema.diagnostics import Collector, Fault, Span, SpecError, did_you_mean
from lamina.schema.dims import FLOATS
from lamina.schema.weights import WeightRules

SHOWN = 20  # lines of each list in an error
_CANDIDATES = 500  # names among which a near one is sought


@final
class Checkpoint:
    """The weights in a file or folder (safetensors, its sharded form, GGUF, or PyTorch's), and in others beside it, renamed by the
    spec's rules.

    Raises SpecError when the files are damaged, when their metadata contradict `demands`, or with every missing, unexpected and
    mis-shaped weight; MissingDependency for a PyTorch file without PyTorch. Reads headers only: numbers are read when a tensor is asked
    for them, and one that is not finite is a SpecError then. `sources` are the texts that errors quote from.
    """

    def __init__(
        self,
        path: Path,
        rules: WeightRules | None,
        parameters: Iterable[Parameter],
        demands: Demands = Demands(),  # noqa: B008  # frozen
        sources: Mapping[str, str] | None = None,
        beside: Sequence[Path] = (),
    ) -> None:
        binding = _Binding(path, rules or WeightRules(), {p.name: p for p in parameters}, collector=Collector(sources=dict(sources or {})))
        try:
            tensors = _united([path, *beside])
            check_metadata(weights_file(path), demands, binding.collector)
        except Fault as fault:
            raise SpecError([fault.at(Span(str(path), 1, 1))]) from fault
        binding.collector.raise_if_any()  # where sizes differ, so do shapes: that need not be said of every weight
        self._tensors = binding.bind(tensors)

    def get(self, parameter: Parameter) -> Tensor:
        """The parameter's tensor, in its dtype. KeyError for one that was not bound."""
        return self._tensors[parameter.name]


def _united(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The tensors of all files. Raises Fault where two have one key."""
    found: dict[str, Tensor] = {}
    for path in paths:
        tensors = read_tensors(path)
        if twice := sorted(found.keys() & tensors.keys()):
            raise Fault(
                "weights", f"`{twice[0]}` is in `{path.name}` and in a checkpoint before it", Span(str(path), 1, 1), "give one of them"
            )
        found |= tensors
    return found


@dataclass(slots=True)
class _Binding:
    path: Path
    rules: WeightRules
    parameters: Mapping[str, Parameter]
    found: dict[str, tuple[str, Tensor]] = field(default_factory=dict)
    attempted: set[str] = field(default_factory=set)
    collector: Collector = field(default_factory=Collector)

    def bind(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors by path, every parameter once. Raises SpecError."""
        shapes = {name: fixed_shape(p) for name, p in self.parameters.items()}
        renamer, joins = Renamer(self.rules), wholes(self.rules, shapes)
        known = {*shapes, *(part for whole in joins for part in whole.parts)}
        for key in sorted(tensors, key=lambda key: (renamer.ignored(key), key)):
            move = renamer.move(key, known)
            if not renamer.ignored(key) or all(path in known and path not in self.found for path in move.paths):
                self._move(move, tensors[key], shapes)
        for whole in joins:
            self._join(whole)
        self.found = {path: found for path, found in self.found.items() if path in shapes or path not in known}
        self._report(shapes)
        self.collector.raise_if_any()
        return {name: cast(_watched(renamed(self.found[name][1], name)), p.dtype) for name, p in self.parameters.items()}

    def _move(self, move: Move, tensor: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.attempted.update(move.paths)
        try:
            for path, part in zip(move.paths, move.apply(tensor, shapes), strict=True):
                self._keep(path, move.key, part)
        except Fault as fault:
            self.collector.add(fault.at(self.rules.spans.get(move.pattern, self._place)))

    def _join(self, whole: Whole) -> None:
        """One weight of its parts, if the checkpoint has any of them."""
        parts = [self.found[part] for part in whole.parts if part in self.found]
        if not parts and self.attempted.isdisjoint(whole.parts):
            return
        self.attempted.add(whole.path)
        absent = [part for part in whole.parts if part not in self.found]
        try:
            if missing := [part for part in absent if part not in self.attempted]:
                message = f"`{whole.path}` is joined of {len(whole.parts)} parts, but nothing becomes `{missing[0]}`"
                raise Fault("weights", message, hint="map a key to that path under `weights: rename:`")
            if not absent:  # else its rule has failed, and said so
                tensor = whole.apply([tensor for _, tensor in parts], self.parameters[whole.path].dtype)
                self._keep(whole.path, "`, `".join(key for key, _ in parts), tensor)
        except Fault as fault:
            self.collector.add(fault.at(self.rules.join_spans.get(whole.pattern, self._place)))

    def _keep(self, path: str, key: str, tensor: Tensor) -> None:
        if path in self.found:
            message = f"`{self.found[path][0]}` and `{key}` both become `{path}`"
            raise Fault("weights", message, hint="rename or ignore one of them")
        self.found[path] = (key, tensor)

    def _report(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        missing = sorted(self.parameters.keys() - self.attempted)
        unexpected = sorted(self.found.keys() - self.parameters.keys())
        misfits = sorted(name for name in self.parameters.keys() & self.found.keys() if not self._fits(name, shapes[name]))
        candidates = unexpected[:_CANDIDATES]
        self._list("missing", "the model has {} that the checkpoint lacks", missing, lambda n: self._missing(n, shapes[n], candidates))
        self._list("unexpected", "the checkpoint has {} that the model lacks", unexpected, self._unexpected)
        self._list("mis-shaped", "the checkpoint and the model disagree about {}", misfits, lambda n: self._misfit(n, shapes[n]))

    def _list(self, kind: str, message: str, names: list[str], line: Callable[[str], str]) -> None:
        if not names:
            return
        more = [f"... and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
        count = message.format(f"{len(names)} weight{'s' * (len(names) > 1)}")
        text = "\n    ".join([f"{count}:", *map(line, names[:SHOWN]), *more])
        self.collector.error(f"weights-{kind}", text, self._place, _HINTS[kind])

    def _missing(self, name: str, shape: tuple[int, ...], candidates: list[str]) -> str:
        hint = did_you_mean(name, candidates)
        return f"{name}  {self.parameters[name].dtype}{list(shape)}" + (f"  ({hint})" if hint else "")

    def _unexpected(self, path: str) -> str:
        key, tensor = self.found[path]
        return f"{path}  {tensor.dtype}{list(tensor.shape)}" + (f"  (from `{key}`)" if key != path else "")

    def _fits(self, name: str, shape: tuple[int, ...]) -> bool:
        theirs, ours = self.found[name][1], self.parameters[name].dtype
        return theirs.shape == shape and (theirs.dtype == ours or {theirs.dtype, ours} <= {*FLOATS})

    def _misfit(self, name: str, shape: tuple[int, ...]) -> str:
        tensor = self.found[name][1]
        return f"{name}  is {tensor.dtype}{list(tensor.shape)} in the checkpoint, {self.parameters[name].dtype}{list(shape)} in the model"

    @property
    def _place(self) -> Span:
        return Span(str(self.path), 1, 1)


def _watched(tensor: Tensor) -> Tensor:
    """The tensor, which refuses numbers that are not finite; blocks look at their own scales, and stay blocks."""
    return tensor if isinstance(tensor, BlockQuantized) else checked(tensor)


_HINTS = {
    "missing": "map the checkpoint's keys to these paths under `weights: rename:`",
    "unexpected": "rename them under `weights: rename:`, or list them under `weights: ignore:`",
    "mis-shaped": "check the config values against the checkpoint's; `transpose:` and `reshape:` may stand in a rename rule",
}
