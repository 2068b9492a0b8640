"""A checked spec to a bundle: lower for each target, stream the weights into one file, write the models, commit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from lamina.compiler.adapters import adapted, write_adapters
from lamina.compiler.bundle import BundleWriter
from lamina.compiler.calibrate import Calibration, Method, written
from lamina.compiler.describe import describe
from lamina.compiler.elaborate import Elaborated, elaborate
from lamina.compiler.genai import genai_files
from lamina.compiler.graph import Graph, Origin
from lamina.compiler.lower import Target, halved, lower, rounded
from lamina.compiler.missing import need_torch
from lamina.compiler.passes.block_weights import block_weights
from lamina.compiler.passes.quantize_layers import observed
from lamina.compiler.precision import layer_precisions, seen_by, target_of, without_static
from lamina.compiler.prompting import prompting
from lamina.compiler.provenance import Places, of_inputs
from lamina.compiler.resolved import resolved_files
from lamina.compiler.targets.onnx import OPSET, Placement, external_values, to_onnx
from lamina.compiler.tokenizer import tokenizer_file
from lamina.compiler.weights.quantize import Quantizer
from lamina.compiler.weights.tensor import Tensor, Weights
from lamina.runtime.places import ORIGINS
from lamina.runtime.tuning import Tuning
from lamina.schema.carried import LENGTH
from lamina.schema.diagnostics import Diagnostic, Span, SpecError
from lamina.schema.dims import Precision
from lamina.schema.spec import ModelSpec

TARGETS: tuple[str, ...] = get_args(Target)
PRECISIONS: tuple[str, ...] = get_args(Precision)
ONNX_FILES = {"onnx": "model.onnx", "onnxruntime": "model.ort.onnx", "tensorrt": "model.trt.onnx"}
TOKENIZER = "tokenizer.json"
WEIGHTS = "weights.bin"
RANGES = "ranges.json"
UNKNOWN = (-1.0, 1.0)  # a range where none can be observed
Progress = Callable[[str], None]
Given = str | Path | Sequence[str | Path] | None


@dataclass(frozen=True, slots=True)
class WeightSource:
    """Where the numbers come from, and how the manifest names it. `weights` is None for a model without weights."""

    weights: Weights | None
    name: str
    path: Path | None = None


def compile(  # the word that users expect
    spec: ModelSpec,
    out: str | Path,
    targets: Sequence[str] = ("onnx", "onnxruntime"),
    weights: Given = None,
    seed: int = 0,
    compute_capabilities: Sequence[str] = (),
    precision: Precision = "float32",
    adapters: Mapping[str, str | Path] = MappingProxyType({}),
    progress: Progress = lambda stage: None,
    calibration: Given = None,
    method: Method = "minmax",
    tuning: Tuning | None = None,
) -> Path:
    """Compile a spec into the bundle folder `out`, which is replaced whole or not at all.

    `weights` is a checkpoint (safetensors, GGUF or PyTorch file, or a folder), several of which each holds some, "none" for a model
    without numbers, or None for seeded random weights. `precision` is that of layers in the target onnxruntime, or in an engine if it
    is float16 or bfloat16, but for those that the spec's own `precision` names. An engine is built for each of the
    `compute_capabilities` ("8.6"), without them one for all GPUs that the library's default fits. `adapters` are PEFT's folders or
    diffusers' files, by name: low-rank products beside linear layers, which become inputs that a session feeds. `calibration` is what
    layers in int8-static take their ranges from, by `method`: paths as `read_batches` reads them, or the ranges.json of another bundle.
    `tuning` is what `lamina.tune.tune` found to be fastest for the target onnxruntime.
    Raises SpecError, InputError, MissingDependency, BundleInUse and OSError.
    """
    unknown = [t for t in targets if t not in TARGETS]
    if unknown:
        raise ValueError(f"unknown target {unknown[0]!r}; targets are {', '.join(TARGETS)}")
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; precisions are {', '.join(PRECISIONS)}")
    if (home := target_of(precision)) is not None and home not in targets:
        raise ValueError(f"the precision {precision} is one of the target {home}, which is not among {', '.join(targets)}")
    if compute_capabilities and "tensorrt" not in targets:
        raise ValueError(f"engines for compute capabilities are of the target tensorrt, which is not among {', '.join(targets)}")
    progress("check")
    model = elaborate(spec)
    source = weight_source(spec, model, weights, seed)
    _need_weights(spec, source, targets)
    model, given = adapted(model, adapters)
    data = tuple([calibration] if isinstance(calibration, str | Path) else calibration or ())

    def plain(folder: Path) -> Path:
        """The bundle that calibration runs."""
        exact = spec.model_copy(update={"precision": without_static(spec.precision)})
        otherwise = "float32" if precision == "int8-static" else precision
        return compile(exact, folder, ["onnxruntime"], weights, seed, (), otherwise, adapters)

    with BundleWriter(Path(out)) as writer:
        job = _Job(spec, model, source, writer, precision, progress, Calibration(data, method, plain), tuning)
        built = job.build(targets, tuple(compute_capabilities))
        tokenizer = None if job.tokenizer is None else {"file": TOKENIZER, **prompting(source.path)}
        held = write_adapters(model.graph, given, writer)
        if "onnx" in targets and not held:
            job.write_json(genai_files(spec, model, ONNX_FILES["onnx"], tokenizer))
        writer.commit(describe(spec, model, source.name, built, writer.records(), tokenizer, held))
    return Path(out)


def in_blocks(graph: Graph, target: str, quantizer: Quantizer) -> Graph:
    """The graph of ops, its weights in blocks where the target has a kernel for them and the precision asks for it."""
    return block_weights(graph, quantizer.layout) if quantizer.rounds and target == "onnxruntime" else graph


def weight_source(spec: ModelSpec, model: Elaborated, weights: Given, seed: int, graph: Graph | None = None) -> WeightSource:
    """The weights that an argument names, of a graph of the model's, if not of the one that is exported.

    Raises SpecError when a checkpoint does not fit.
    """
    if weights is None or weights == []:
        from lamina.compiler.weights.seeded import Seeded

        return WeightSource(Seeded(seed), f"seed:{seed}")
    if str(weights) == "none":
        return WeightSource(None, "none")
    from lamina.compiler.weights.checkpoint import Checkpoint

    path, *beside = map(Path, [weights] if isinstance(weights, str | Path) else weights)
    checkpoint = Checkpoint(path, model.weights, (graph or model.graph).parameters(), model.demands, spec.sources, beside)
    return WeightSource(checkpoint, " + ".join(p.name for p in (path, *beside)), path)


def _need_weights(spec: ModelSpec, source: WeightSource, targets: Sequence[str]) -> None:
    """Engines and PyTorch programs hold numbers: without weights there is none to build. Raises SpecError."""
    asked = [t for t in targets if t in ("tensorrt", "torch")]
    if source.weights is None and asked:
        message = f"the target `{asked[0]}` holds the weights, and there are none"
        raise SpecError([Diagnostic("weights", message, Span(str(spec.path), 1, 1), "leave out `--weights none`")], spec.sources)


def _need_data(spec: ModelSpec) -> SpecError:
    span = next((rule.span for rule in spec.precision if rule.precision == "int8-static"), Span(str(spec.path), 1, 1))
    message = "layers in int8-static take their ranges from data, and none was given"
    hint = "give inputs of your own with --calibration, or choose int8-dynamic for linear layers"
    return SpecError([Diagnostic("precision", message, span, hint)], spec.sources)


class _Job:
    """One compilation into an open bundle."""

    def __init__(
        self,
        spec: ModelSpec,
        model: Elaborated,
        source: WeightSource,
        writer: BundleWriter,
        precision: Precision,
        progress: Progress,
        calibration: Calibration,
        tuning: Tuning | None,
    ) -> None:
        self.spec, self.model, self.source, self.writer, self.progress = spec, model, source, writer, progress
        self.calibration, self.tuning = calibration, tuning
        self.quantizer = Quantizer(source.weights, precision, spec.precision)
        self.precisions = layer_precisions(model.graph, spec.precision, precision)
        self.tokenizer = tokenizer_file(spec, source.path)
        self.origins: dict[str, Mapping[str, Origin]] = {}  # of targets whose files have no place for them

    def build(self, targets: Sequence[str], capabilities: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """Write every artifact; returns the manifest's entries by target."""
        graphs = {target: self._lowered(target) for target in ONNX_FILES if target in targets}
        if "tensorrt" in graphs:
            graphs["tensorrt"] = halved(graphs["tensorrt"], self.precisions)
        if "onnxruntime" in graphs:
            graphs["onnxruntime"] = self._in_ranges(graphs["onnxruntime"])
        tensors, placements = self._weights(list(graphs.values()))
        built: dict[str, dict[str, Any]] = {}
        for target, graph in graphs.items():
            self.progress(f"write {ONNX_FILES[target]}")
            proto = to_onnx(graph, tensors, placements, metadata={"lamina.model": self.spec.model}, folder=self.spec.path.parent)
            self.writer.path(ONNX_FILES[target]).write_bytes(proto.SerializeToString(deterministic=True))
            lengths = tuple(v.name.removeprefix(LENGTH) for v in graph.inputs if v.name.startswith(LENGTH))
            built[target] = {"file": ONNX_FILES[target], "opset": OPSET, "preallocated": lengths}
            if target == "onnxruntime":
                built[target] |= self._precisions(target) | {"tuning": self.tuning and self.tuning.model_dump()}
        if "tensorrt" in targets:
            built["tensorrt"] = self._engines(graphs["tensorrt"], capabilities)
            if len(graphs) == 1:  # the engine holds the weights, and nothing else reads them
                self.writer.path(WEIGHTS).unlink(missing_ok=True)
        if "torch" in targets:
            built["torch"] = self._torch()
        if self.origins:
            places = Places(self.spec.path.parent)
            self.write_json({ORIGINS: {target: places.table(origins) for target, origins in self.origins.items()}})
        self._texts()
        return built

    def _lowered(self, target: str) -> Graph:
        left_out = self.tuning.left_out if self.tuning is not None and target == "onnxruntime" else ()
        if "int8-static" in self.precisions.values():  # whose convolutions are ONNX Runtime's
            left_out = (*left_out, "conv_kernels")
        return lower(in_blocks(self.model.graph, target, self.quantizer), target, left_out)  # type: ignore[arg-type]

    def _precisions(self, target: str) -> dict[str, Any]:
        """What the manifest says of the layers of a target."""
        rules = {rule.pattern: seen_by(target, rule.precision) for rule in self.spec.precision}
        return {"precision": seen_by(target, self.quantizer.precision), "precisions": rules}

    def _in_ranges(self, graph: Graph) -> Graph:
        """The graph, the layers in int8-static rounded in the ranges that their values have."""
        names = observed(graph, self.precisions)
        if not names:
            return graph
        if self.source.weights is None:  # there is nothing to run
            return rounded(graph, self.precisions, dict.fromkeys(names, UNKNOWN))
        if not self.calibration.data:
            raise _need_data(self.spec)
        self.progress("calibrate")
        ranges = self.calibration.ranges(names)
        self.writer.path(RANGES).write_text(written(ranges), encoding="utf-8")
        return rounded(graph, self.precisions, ranges)

    def _weights(self, graphs: list[Graph]) -> tuple[Mapping[str, Tensor], Mapping[str, Placement]]:
        from lamina.compiler.weights.derived import tensor_of
        from lamina.compiler.weights.shapes import Shapes
        from lamina.compiler.weights.write import write_external

        values = external_values(graphs)
        tensors = {v.name: tensor_of(v, self.quantizer if self.source.weights else Shapes()) for v in values}
        if not values or self.source.weights is None:
            return tensors, {}
        self.progress("write weights")
        external = write_external(tensors.values(), self.writer.path(WEIGHTS))
        self.writer.hashed(WEIGHTS, external.sha256, external.nbytes)
        return tensors, {n: Placement(*place) for n, place in zip(tensors, external.places, strict=True)}

    def _engines(self, graph: Graph, capabilities: tuple[str, ...]) -> dict[str, Any]:
        """One for each compute capability, or one that is portable, named by what they fit."""
        from lamina.compiler.targets import tensorrt

        inputs = [(v.name, v.dtype, v.shape) for v in graph.inputs]
        dims = {n: (d.min, d.opt, d.max) for n, d in self.model.dims.items()}
        self.origins["tensorrt"] = origins = {n.outputs[0].name: n.origin for n in graph.all_nodes()}
        model = self.writer.path(ONNX_FILES["tensorrt"])
        engines = []
        each: list[tuple[str, ...]] = [(capability,) for capability in dict.fromkeys(capabilities)] or [()]
        for fits in each:
            name = f"engines/{'sm' + fits[0].replace('.', '') if fits else 'portable'}.engine"
            self.progress(f"build {name}")
            engine = tensorrt.build(
                model,
                inputs,
                dims,
                compute_capabilities=fits,
                origins=of_inputs(self.spec) | origins,
                sources=self.spec.sources,
                progress=lambda share, stage: self.progress(stage),
            )
            shutil.copyfile(engine.path, self.writer.path(name))
            engines.append({"file": name, "compute_capabilities": fits, "key": engine.key})
        model.unlink()
        library = {"library": engine.library.name, "version": engine.library.version}
        return {**library, "engines": engines, **self._precisions("tensorrt")}

    def _torch(self) -> dict[str, Any]:
        need_torch("the `torch` target")
        from lamina.compiler.targets.torch.export import for_archive, save_pt2
        from lamina.compiler.targets.torch.module import to_module

        self.progress("export the PyTorch module")
        assert self.source.weights is not None
        graph, weights = for_archive(lower(self.model.graph, "torch"), self.source.weights)
        module = to_module(graph, weights).eval()
        self.origins["torch"] = module.origins
        try:
            save_pt2(module, graph, self.writer.path("model.pt2"))
        except SpecError as error:
            raise SpecError(error.diagnostics, self.spec.sources) from error
        return {"file": "model.pt2", "version": metadata.version("torch")}

    def write_json(self, files: Mapping[str, Any]) -> None:
        """Objects to files of the bundle, by name."""
        for name, value in files.items():
            self.writer.path(name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def _texts(self) -> None:
        for name, text in resolved_files(self.spec).items():
            path = self.writer.path(name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if self.tokenizer is not None:
            self.writer.path(TOKENIZER).write_bytes(self.tokenizer)
