"""ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, final

import numpy as np

from lamina.runtime.backend import Backend, Options
from lamina.runtime.carrier import ArrayCarrier, Carrier
from lamina.runtime.dtypes import Array, numpy_dtype
from lamina.runtime.errors import BackendMissing, BundleError, InputError
from lamina.runtime.manifest import Manifest, OnnxTarget
from lamina.runtime.native import instructions, library
from lamina.runtime.ort_carrier import OrtCarrier
from lamina.runtime.rooms import Rooms
from lamina.runtime.tuning import Settings
from lamina.schema.diagnostics import did_you_mean

_GRAPH, _CALLS = "graph.onnx", "calls"  # in the folder of a trace
_ROUNDS_MORE = "WeightBiasQuantization"  # it rounds the weights, in one range, of what stays float32 between layers of integers
_BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16


@final
class OrtBackend(Backend):
    """An `onnxruntime.InferenceSession`. `run` with plain arrays beats I/O binding on CPU: inputs are read in place either way."""

    def __init__(self, path: Path, manifest: Manifest, target: OnnxTarget, options: Options) -> None:
        ort = _library()
        self._ort, self._outputs = ort, [tensor.name for tensor in manifest.outputs]
        self._manifest, self._rooms = manifest, Rooms(manifest, target.preallocated)
        self._traced = options.trace is not None
        chosen = _settings(path, target, options, _providers(ort, options))
        self._settings = chosen.model_copy(update={"sizes": {}}) if self._traced else chosen  # a trace is of one session
        self._open: Callable[[Settings], Any] = partial(_open, ort, path, options, target)
        self._session, self._general, self._opening = self._open(self._settings), None, Lock()
        self._tuned = _axes(manifest, self._settings.sizes)
        self._errors = _errors(ort)
        self._bfloat16 = any(tensor.dtype == "bfloat16" for tensor in (*manifest.inputs, *manifest.outputs))
        inputs = [*(tensor.name for tensor in manifest.inputs), *self._rooms.lengths.values()]
        _same_names(path, "inputs", [value.name for value in self._session.get_inputs()], inputs)
        _same_names(path, "outputs", [value.name for value in self._session.get_outputs()], self._outputs)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        feeds = self._rooms.with_room(feeds)
        try:
            session = self._session_for(feeds)
            values = self._run_values(session, feeds) if self._bfloat16 else session.run(self._outputs, feeds)
        except self._errors as error:
            raise InputError(f"ONNX Runtime cannot run these inputs: {error}") from error
        return dict(zip(self._outputs, values, strict=True))

    def carrier(self, beside: Mapping[str, Array]) -> Carrier:
        if not self._on_cpu:
            return ArrayCarrier(self.run, self._manifest, beside)
        return OrtCarrier(self._session, self._manifest, self._rooms, self._errors, beside)

    @property
    def _on_cpu(self) -> bool:
        return bool(self._session.get_providers() == ["CPUExecutionProvider"])

    def _session_for(self, feeds: Mapping[str, Array]) -> Any:
        """The session of fixed shapes for the sizes that it is tuned to; for others one that takes all, opened when it is first needed."""
        if all(feeds[name].shape[axis] == size for name, axis, size in self._tuned):
            return self._session
        with self._opening:
            if self._general is None:
                self._general = self._open(self._settings.model_copy(update={"sizes": {}}))
            return self._general

    def _run_values(self, session: Any, feeds: Mapping[str, Array]) -> list[Array]:
        """As `run`, through OrtValues: ONNX Runtime does not know numpy's bfloat16."""
        values = {name: self._value(array) for name, array in feeds.items()}
        return [_array(value) for value in session.run_with_ort_values(self._outputs, values)]

    def _value(self, array: Array) -> Any:
        if array.dtype == numpy_dtype("bfloat16"):
            return self._ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _BFLOAT16)
        return self._ort.OrtValue.ortvalue_from_numpy(array)

    def close(self) -> None:
        if self._traced:
            self._session.end_profiling()
        del self._session, self._general


def traced(folder: Path) -> tuple[Path, Path]:
    """What `Options.trace` left, once the backend is closed: the graph that ran, as ONNX, and the runs of its nodes, as JSON."""
    (calls,) = folder.glob(f"{_CALLS}*.json")
    return folder / _GRAPH, calls


def _library() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendMissing(f"onnxruntime cannot be imported ({error}); pip install onnxruntime") from error
    return onnxruntime


def _errors(ort: Any) -> tuple[type[Exception], ...]:
    state = ort.capi.onnxruntime_pybind11_state
    known = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile, state.RuntimeException)
    return (*known, UnicodeDecodeError)  # of a message that quotes the file's own bytes


def _settings(path: Path, target: OnnxTarget, options: Options, providers: list[str]) -> Settings:
    """How the session is set up: as is asked for, else as the target was tuned, where this machine is like the one that it was tuned on."""
    tuning = target.tuning
    if options.settings is not None or tuning is None or providers != ["CPUExecutionProvider"]:
        return options.settings or Settings()
    if tuning.is_here:
        return tuning.settings
    where = f"{tuning.cores} cores of {tuning.processor}"
    warnings.warn(f"{path} was tuned for {where}, unlike this machine: its settings are left; compile with --tune here", stacklevel=2)
    return Settings()


def _axes(manifest: Manifest, sizes: Mapping[str, int]) -> tuple[tuple[str, int, int], ...]:
    """The inputs and axes at which these dims stand, with their sizes."""
    return tuple((spec.name, axis, sizes[dim]) for spec in manifest.inputs for axis, dim in enumerate(spec.shape) if dim in sizes)  # type: ignore[index]


def _open(ort: Any, path: Path, options: Options, target: OnnxTarget, chosen: Settings) -> Any:
    settings = ort.SessionOptions()
    _apply(ort, settings, chosen)
    settings.log_severity_level = 3  # errors: they reach the caller as exceptions, and warnings are about its own fusions
    if {"int8-dynamic", "int8-static"} & target.kept and instructions() not in ("AVX-512 VNNI", "AMX"):
        settings.add_session_config_entry("session.x64quantprecision", "1")  # else sums of products may saturate
    if options.threads is not None:
        settings.intra_op_num_threads = options.threads
    if options.trace is not None:
        settings.enable_profiling, settings.profile_file_prefix = True, str(options.trace / _CALLS)
        settings.optimized_model_filepath = str(options.trace / _GRAPH)
    providers = _providers(ort, options)
    kernels = library()
    if kernels is not None and providers == ["CPUExecutionProvider"]:  # a GPU runs what defines them
        settings.register_custom_ops_library(str(kernels))
    try:
        return ort.InferenceSession(
            path,
            settings,
            providers=providers,
            provider_options=options.provider_options,
            disabled_optimizers=[_ROUNDS_MORE],
            enable_fallback=0,
        )
    except ort.capi.onnxruntime_pybind11_state.NotImplemented as error:
        raise BackendMissing(f"onnxruntime {ort.__version__} has no kernel for {path.name}: {error}") from error
    except _errors(ort) as error:
        raise BundleError(f"onnxruntime {ort.__version__} refuses {path}: {error}") from error


def _apply(ort: Any, settings: Any, chosen: Settings) -> None:
    """Write what was chosen into ONNX Runtime's own options."""
    levels = ort.GraphOptimizationLevel
    level = {"basic": levels.ORT_ENABLE_BASIC, "extended": levels.ORT_ENABLE_EXTENDED, "all": levels.ORT_ENABLE_ALL}
    settings.graph_optimization_level = level[chosen.optimisation]
    settings.enable_cpu_mem_arena, settings.enable_mem_pattern = chosen.arena, chosen.memory_pattern
    if chosen.threads is not None:
        settings.intra_op_num_threads = chosen.threads
    if not chosen.spinning:
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if chosen.parallel:
        settings.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    for dim, size in chosen.sizes.items():
        settings.add_free_dimension_override_by_name(dim, size)


def _providers(ort: Any, options: Options) -> list[str]:
    available = ort.get_available_providers()
    for name in options.providers or ():
        if name not in available:
            hint = did_you_mean(name, available)
            raise BackendMissing(f"onnxruntime has no `{name}` here, only {', '.join(available)}" + (f"; {hint}" if hint else ""))
    return list(options.providers or [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available])


def _same_names(path: Path, what: str, found: list[str], declared: list[str]) -> None:
    if set(found) != set(declared):
        raise BundleError(f"{path} has the {what} {found} where the manifest declares {declared}; compile the spec again")


def _array(value: Any) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        return value.numpy()  # type: ignore[no-any-return]
    import ctypes

    data = (ctypes.c_uint16 * int(np.prod(value.shape()))).from_address(value._ortvalue.data_ptr())
    return np.array(data, np.uint16).view(numpy_dtype("bfloat16")).reshape(value.shape())
