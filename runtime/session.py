"""Session: a bundle that is open on one backend. Named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack, final

from lamina.runtime.adapters import Adapters, Choice
from lamina.runtime.backend import Backend, Options
from lamina.runtime.dtypes import Array
from lamina.runtime.errors import BundleError
from lamina.runtime.feeds import checked
from lamina.runtime.integrity import check_hashes, hashes_meanwhile
from lamina.runtime.manifest import Engine, Input, Manifest, OnnxTarget, Tensor, TensorRTTarget, TorchTarget, read_manifest
from lamina.runtime.stream import Stream
from lamina.runtime.tuning import Settings

BackendName = Literal["auto", "onnxruntime", "onnx", "tensorrt", "torch"]
_TARGETS = {
    "auto": ("onnxruntime", "onnx", "torch", "tensorrt"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "onnx": ("onnx",),
    "tensorrt": ("tensorrt",),
    "torch": ("torch",),
}


class PerCall(TypedDict, total=False):
    """What a call or a stream may have of its own, where the session's is not meant."""

    adapter: Choice


@final
class Session:
    """An open bundle: `Session("bundle")(image=array)["logits"]`.

    `backend` is `onnxruntime` (its own file, else the standard one), `onnx` (the standard file, in ONNX Runtime), `tensorrt`, `torch`,
    or `auto`: TensorRT where this machine's GPU runs the bundle's engine, else ONNX Runtime, else PyTorch.
    `providers`, `provider_options`, `threads` and `settings` are as in `Options`.
    The hashes of the target's files are checked, unless `verify` is False: of what a library parses before it does, of weights, which
    are only numbers, while it opens the rest (0.5 s a gigabyte).
    BundleError: the bundle is not whole, or does not hold that target. BackendMissing: the machine lacks the backend.
    """

    def __init__(
        self,
        bundle: Path | str,
        backend: BackendName = "auto",
        providers: Sequence[str] | None = None,
        provider_options: Sequence[Mapping[str, str]] | None = None,
        threads: int | None = None,
        verify: bool = True,
        settings: Settings | None = None,
    ) -> None:
        self.folder = Path(bundle)
        self.manifest: Manifest = read_manifest(self.folder)
        self.target = _choose(self.manifest, backend)
        if self.manifest.weights.source == "none":
            raise BundleError(f"{self.folder} was compiled without weights, so it can be looked at but not run; compile it with weights")
        engine = _engine(self.manifest) if self.target == "tensorrt" else None
        options = Options(providers, provider_options, threads, settings=settings)
        self._backend: Backend | None = _verified(self, engine, options) if verify else _open(self, engine, options)
        self._adapters = Adapters(self.folder, self.manifest)
        self._adapter: Choice = None

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the bundle takes, in order."""
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What the bundle gives, in order."""
        return self.manifest.outputs

    def __call__(self, /, **inputs: Any) -> dict[str, Array]:
        """The outputs for these inputs, which must have the declared names, dtypes and shapes: InputError otherwise.

        States (`past.*`) that are not given start from their initial values; what the call leaves of them is in `present.*`.
        """
        return self.run(inputs)

    def set_adapter(self, adapter: Choice) -> None:
        """Let calls and streams that begin from here on use an adapter: its name, weights by name to mix several, or None for none.

        Nothing is built again: the adapter's matrices are inputs. InputError for a name that the bundle has not.
        """
        self._adapters.feeds(adapter)
        self._adapter = adapter

    def run(self, inputs: Mapping[str, Any], **options: Unpack[PerCall]) -> dict[str, Array]:
        """As the call, for names that are not Python's, and with an `adapter` of its own."""
        if self._backend is None:
            raise ValueError("the session is closed")
        return self._backend.run(checked(self.manifest, inputs, self._adapters.feeds(options.get("adapter", self._adapter))))

    def stream(self, **options: Unpack[PerCall]) -> Stream:
        """Calls that carry the model's states from one to the next, with an `adapter` of their own. BundleError if it has no states."""
        if not self.manifest.states:
            raise BundleError(f"{self.folder} holds a model without states: every call stands by itself")
        if self._backend is None:
            raise ValueError("the session is closed")
        return Stream(self.manifest, self._backend.carrier(self._adapters.feeds(options.get("adapter", self._adapter))))

    def close(self) -> None:
        """Give the memory back. Calls fail from here on."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _choose(manifest: Manifest, backend: str) -> str:
    """The target to run: the first of those that the backend takes which the bundle holds."""
    if backend not in _TARGETS:
        raise ValueError(f"`{backend}` is not a backend; choose one of {', '.join(_TARGETS)}")
    if backend == "auto" and _has_usable_engine(manifest):
        return "tensorrt"
    built = manifest.targets.built()
    for target in _TARGETS[backend]:
        if target in built:
            return target
    held = ", ".join(built) or "no target"
    raise BundleError(f"the bundle holds {held}, nothing for the backend {backend}; compile the spec with --target {_TARGETS[backend][0]}")


def _has_usable_engine(manifest: Manifest) -> bool:
    if manifest.targets.tensorrt is None:
        return False
    from lamina.runtime.trt import usable

    return usable(manifest.targets.tensorrt)


def _engine(manifest: Manifest) -> Engine:
    """The one for this machine's GPU. BackendMissing if there is none."""
    from lamina.runtime.trt import engine_here

    assert manifest.targets.tensorrt is not None
    return engine_here(manifest.targets.tensorrt)


def _verified(session: Session, engine: Engine | None, options: Options) -> Backend:
    """What `_open` gives, where the files that it reads have their hashes. BundleError otherwise."""
    folder, manifest = session.folder, session.manifest
    parsed = manifest.targets.built()[session.target].own_files
    names = manifest.files_of(session.target, engine)
    check_hashes(folder, manifest.files, [name for name in names if name in parsed])
    with hashes_meanwhile(folder, manifest.files, [name for name in names if name not in parsed]):
        return _open(session, engine, options)


def _open(session: Session, engine: Engine | None, options: Options) -> Backend:
    match session.manifest.targets.built()[session.target]:
        case OnnxTarget() as target:
            from lamina.runtime.ort import OrtBackend

            return OrtBackend(session.folder / target.file, session.manifest, target, options)
        case TensorRTTarget() as target:
            from lamina.runtime.trt import TensorRTBackend

            assert engine is not None
            return TensorRTBackend(session.folder / engine.file, session.manifest, target)
        case TorchTarget() as target:
            from lamina.runtime.torch import TorchBackend

            return TorchBackend(session.folder / target.file, session.manifest, options)
