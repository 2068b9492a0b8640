"""manifest.json: what a bundle holds. The compiler writes `Manifest(...).dump()`; `read_manifest` reads it back and checks the folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, NoReturn, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from lamina.runtime import shapes
from lamina.runtime.errors import BundleError
from lamina.runtime.integrity import check_sizes
from lamina.runtime.older import today
from lamina.runtime.parts import (
    Adapter,
    Engine,
    FileName,
    FileRecord,
    ImagePreprocess,
    Input,
    OnnxTarget,
    Provenance,
    Range,
    State,
    Targets,
    Tensor,
    TensorRTTarget,
    Tokenizer,
    TorchTarget,
)
from lamina.runtime.strict import Count, Strict
from lamina.schema.carried import RANK

__all__ = [
    "Adapter",
    "Engine",
    "FileRecord",
    "ImagePreprocess",
    "Input",
    "Manifest",
    "OnnxTarget",
    "Provenance",
    "Range",
    "State",
    "Targets",
    "Tensor",
    "TensorRTTarget",
    "Tokenizer",
    "TorchTarget",
    "read_manifest",
]

MANIFEST = "manifest.json"
FORMAT = 1
_LARGEST = 16 * 2**20


class Manifest(Strict):
    """All that a reader needs to know of a bundle. The rules that its parts obey together are checked on construction."""

    lamina: Annotated[int, Field(ge=1, le=FORMAT)] = FORMAT
    model: str
    variant: str | None = None
    config: dict[str, JsonValue] = Field(default_factory=dict)
    version: str
    summary: str = ""
    inputs: Annotated[tuple[Input, ...], Field(min_length=1)]
    outputs: Annotated[tuple[Tensor, ...], Field(min_length=1)]
    dims: dict[str, Range] = Field(default_factory=dict)
    states: tuple[State, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    parameters: Count = 0
    weights: Provenance
    targets: Targets
    preprocess: dict[str, ImagePreprocess] | None = None
    tokenizer: Tokenizer | None = None
    files: dict[FileName, FileRecord]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._name_problems(), *self._size_problems(), *self._adapter_problems(), *self._file_problems()]
        problems += self._tuning_problems()
        if problems := problems or list(self._room_problems()):
            raise ValueError("; ".join(problems))
        return self

    def _name_problems(self) -> Iterator[str]:
        inputs = [tensor.name for tensor in self.inputs]
        for group in (inputs, [tensor.name for tensor in self.outputs]):
            yield from (f"`{name}` stands twice" for name in sorted({name for name in group if group.count(name) > 1}))
        outputs = [tensor.name for tensor in self.outputs]
        for state in self.states:
            if state.past not in inputs or state.present not in outputs:
                yield f"the state `{state.name}` has no input `{state.past}` or no output `{state.present}`"
        fed = (self.tokenizer.ids, self.tokenizer.mask, self.tokenizer.types) if self.tokenizer else ()
        for name in (*(self.preprocess or ()), *fed):
            if name is not None and name not in inputs:
                yield f"`{name}` has preprocessing or a tokenizer but is not an input"

    def _size_problems(self) -> Iterator[str]:
        for dim, extent in self.dims.items():
            if extent.at_most is None:
                continue
            if strange := shapes.names(extent.at_most) - self.dims.keys():
                yield f"`{dim}` is at most {extent.at_most}, and {', '.join(sorted(strange))} is not in dims"
            elif shapes.divides(extent.at_most):
                yield f"`{dim}` is at most {extent.at_most}, which divides by a dim"
        for tensor in (*self.inputs, *self.outputs):
            used: frozenset[str] = frozenset().union(*map(shapes.names, tensor.shape))
            yield from (f"`{tensor.name}: {tensor}` uses `{dim}`, which is not in dims" for dim in sorted(used - self.dims.keys()))
            try:
                least = [shapes.evaluate(size, {name: extent.min for name, extent in self.dims.items()}) for size in tensor.shape]
            except ValueError as error:
                yield f"`{tensor.name}: {tensor}` has no size: {error}"
                continue
            yield from (f"`{tensor.name}: {tensor}` has a size of {size}" for size in least if size < 0)

    def _room_problems(self) -> Iterator[str]:
        """Of buffers: how much of them a call fills must be known from its inputs."""
        alone = {size for tensor in self.inputs for size in tensor.shape if isinstance(size, str)}
        filled = {dim for target in self.targets.built().values() if isinstance(target, OnnxTarget) for dim in target.preallocated}
        made = {tensor.name: tensor.shape for tensor in self.outputs}
        for state in self.states:
            for before, after in zip(self.input(state.past).shape, made[state.present], strict=False):
                if before in filled and (strange := shapes.names(after) - alone):
                    yield f"the state `{state.name}` grows from {before} to {after}, and no input has the size {', '.join(sorted(strange))}"

    def crowded(self, sizes: Mapping[str, int]) -> str | None:
        """Which dim is larger than the others leave room for, and why; None where none is, or not all are known."""
        for name, extent in self.dims.items():
            if extent.at_most is None or not ({name} | shapes.names(extent.at_most)) <= sizes.keys():
                continue
            if sizes[name] > (most := shapes.evaluate(extent.at_most, sizes)):
                beside = " and ".join(f"{n} = {sizes[n]}" for n in sorted(shapes.names(extent.at_most)))
                return f"{name} = {sizes[name]} beside {beside}, and {name} must be at most {extent.at_most}, {most} here"
        return None

    def fitting(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """The sizes, each no larger than the others leave room for."""
        found, bounded = dict(sizes), {name: extent for name, extent in self.dims.items() if extent.at_most is not None}
        for _ in bounded:  # what is made smaller may leave less room for another, and so on
            for name, extent in bounded.items():
                found[name] = max(extent.min, min(found[name], shapes.evaluate(extent.at_most or 0, found)))
        return found

    def _adapter_problems(self) -> Iterator[str]:
        names = [adapter.name for adapter in self.adapters]
        yield from (f"the adapter `{name}` stands twice" for name in sorted({name for name in names if names.count(name) > 1}))
        matrices = [tensor for tensor in self.inputs if tensor.is_adapter]
        for tensor in matrices:
            if sorted(isinstance(size, int) for size in tensor.shape) != [False, True] or RANK not in tensor.shape:
                yield f"`{tensor.name}: {tensor}` must be a matrix with {RANK} rows or columns"
        if self.adapters and not matrices:
            yield "there are adapters, and no input for them"
        allowed = self.dims.get(RANK, Range())
        yield from (f"the adapter `{a.name}` has rank {a.rank}, and it must be {allowed}" for a in self.adapters if a.rank not in allowed)

    def _file_problems(self) -> Iterator[str]:
        used = [file for target in self.targets.built().values() for file in target.own_files] + [adapter.file for adapter in self.adapters]
        used += [self.tokenizer.file] if self.tokenizer else []
        yield from (f"`{name}` is used but has no entry in files" for name in used if name not in self.files)
        if MANIFEST in self.files:
            yield f"{MANIFEST} cannot record itself"

    def _tuning_problems(self) -> Iterator[str]:
        """Sizes that nearly all calls have are sizes that a call may have; what is carried from call to call may change its own."""
        found = [target.tuning for target in self.targets.built().values() if isinstance(target, OnnxTarget) and target.tuning is not None]
        for tuning in found:
            sizes, threads = tuning.settings.sizes, tuning.settings.threads
            strange = [name for name, size in sizes.items() if name not in self.dims or size not in self.dims[name]]
            yield from (f"{name} = {sizes[name]} is tuned for, which is no size that `{name}` may have" for name in strange)
            if sizes and self.states:
                yield "sizes are tuned to stay, and there are states, which may grow"
            if threads is not None and threads > tuning.cores:
                yield f"{threads} threads are tuned for, and {tuning.cores} cores"

    def input(self, name: str) -> Input:
        """The input of that name. KeyError if there is none."""
        return self._inputs[name]

    @cached_property
    def _inputs(self) -> dict[str, Input]:
        return {tensor.name: tensor for tensor in self.inputs}

    @cached_property
    def supplied(self) -> frozenset[str]:
        """The inputs that a caller need not give: states and adapters."""
        return frozenset((*(state.past for state in self.states), *(tensor.name for tensor in self.inputs if tensor.is_adapter)))

    def files_of(self, target: str, engine: Engine | None = None) -> tuple[str, ...]:
        """The files that a target may read, of its engines those of the one that is chosen: all but the other targets' own."""
        built = self.targets.built()
        own = built[target].own_files if engine is None else (engine.file,)
        others = {file for other in built.values() for file in other.own_files} | {n for n in self.files if n.startswith("engines/")}
        return tuple(name for name in self.files if name in own or name not in others)

    def dump(self) -> str:
        """The text of manifest.json: sorted keys, indented by 1, one newline at the end."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest of a bundle whose files are all there, inside the folder, with the recorded sizes. BundleError otherwise.

    Hashes are not computed here: see `integrity.check_hashes`.
    """
    root = Path(folder)
    manifest = parse_manifest(_read(root), root / MANIFEST)
    check_sizes(root, manifest.files)
    return manifest


def _read(root: Path) -> bytes:
    path = root / MANIFEST
    if not root.is_dir():
        what = "is a file, not a bundle folder" if root.exists() else "does not exist"
        raise BundleError(f"{root} {what}; a bundle is the folder that `lamina compile SPEC -o DIR` writes")
    if not path.is_file():
        raise BundleError(f"{root} holds no {MANIFEST}, so it is not a bundle; write one with `lamina compile SPEC -o DIR`")
    if not path.resolve().is_relative_to(root.resolve()):
        raise BundleError(f"{path} is a link that leads out of the bundle; a bundle must hold its own files")
    if path.stat().st_size > _LARGEST:
        raise BundleError(f"{path} is over {_LARGEST >> 20} MiB: not a manifest")
    return path.read_bytes()


def parse_manifest(text: bytes, path: Path) -> Manifest:
    """The manifest in a text, for the bundle whose is at `path`; its files are not looked at. BundleError."""
    try:
        parsed = json.loads(text, parse_constant=_no_constant)
        newer = today(parsed)
        text = text if newer is parsed else json.dumps(newer).encode()
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON ({error}); compile the spec again") from None
    # Looked at before the rest, so that a newer format is refused for its number and not for the keys that it added.
    version = parsed.get("lamina") if isinstance(parsed, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise BundleError(f"{path} has format {version} and this lamina reads up to {FORMAT}; upgrade lamina, or {_again(path)}")
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{path} is not valid; {_again(path)}\n" + "\n".join(_lines(error))) from None


def _again(path: Path) -> str:
    return f"compile the spec again: `lamina compile {path.with_name('spec.yaml')} -o DIR`, with the `--weights` that it had"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _lines(error: ValidationError, most: int = 10) -> Iterable[str]:
    details = error.errors(include_url=False, include_context=False)
    for detail in details[:most]:
        yield f"  {'.'.join(map(str, detail['loc'])) or 'manifest'}: {detail['msg']}"
    if len(details) > most:
        yield f"  and {len(details) - most} more"
