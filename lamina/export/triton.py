"""A model repository of Triton: a folder for each bundle, with its config.pbtxt and one version."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lamina.export.part import check_runnable, write_manifest, write_model
from lamina.export.pbtxt import pbtxt
from lamina.export.place import replacing
from lamina.export.triton_config import config
from lamina.runtime.errors import BundleError
from lamina.runtime.manifest import MANIFEST, Engine, Manifest, OnnxTarget, Targets, TensorRTTarget, read_manifest

Artifact = OnnxTarget | TensorRTTarget
Target = Literal["onnxruntime", "onnx", "tensorrt"]
CONFIG, VERSION, ENGINE = "config.pbtxt", "1", "model.plan"
_ORDER: tuple[Target, ...] = ("onnxruntime", "onnx", "tensorrt")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}")


@dataclass(frozen=True, slots=True)
class _Model:
    """A bundle that can be exported, and the target of it that is."""

    bundle: Path
    manifest: Manifest
    target: Target


def export_triton(bundles: Mapping[str, Path], repository: Path | str, target: Target | None = None) -> list[Path]:
    """Write a folder for each bundle, by the model's name in Triton, and return them; other models of the repository stay.

    Each takes an older one's place whole or not at all, and is a bundle itself. `target` is what Triton runs; without it ONNX Runtime's
    file where Triton can feed it, else the standard one, else an engine. Raises BundleError (of all bundles at once) and MachineError.
    """
    found, problems = {}, []
    for name, bundle in bundles.items():
        try:
            found[name] = _model(name, bundle, target)
        except BundleError as error:
            problems.append(str(error))
    if problems:
        raise BundleError("\n".join(problems))
    return [_write(name, model, Path(repository)) for name, model in found.items()]


def _model(name: str, bundle: Path, target: Target | None) -> _Model:
    manifest = read_manifest(bundle)
    if _NAME.fullmatch(name) is None:
        raise BundleError(f"`{name}` cannot be the name of a model in Triton; give one of letters, digits, _, - and . with NAME={bundle}")
    reasons = {wanted: _obstacle(manifest, wanted) for wanted in ((target,) if target else _ORDER)}
    chosen = next((wanted for wanted, reason in reasons.items() if reason is None), None)
    if chosen is None:
        raise BundleError(f"{bundle} holds nothing that Triton runs: {'; '.join(filter(None, reasons.values()))}")
    check_runnable(bundle, manifest, chosen)
    return _Model(bundle, manifest, chosen)


def _obstacle(manifest: Manifest, target: Target) -> str | None:
    """Why Triton cannot run that target of the bundle."""
    match getattr(manifest.targets, target):
        case None:
            return f"it has no target {target}"
        case OnnxTarget(preallocated=dims) if dims:
            return f"its target {target} writes states in place, which Lamina's own runtime feeds (compile with --target onnx)"
        case TensorRTTarget(library="tensorrt_rtx"):
            return "its engine is one of TensorRT-RTX, and Triton runs those of TensorRT (compile where `tensorrt` is installed)"
    return None


def _write(name: str, model: _Model, repository: Path) -> Path:
    found = model.manifest.targets.built()[model.target]
    with replacing(repository / name, MANIFEST) as folder:
        version = folder / VERSION
        version.mkdir()
        if isinstance(found, OnnxTarget):
            names, plans = write_model(model.bundle, model.manifest, found, version), None
            part: Artifact = found.model_copy(update={"file": f"{VERSION}/{names[0]}"})
        else:
            assert isinstance(found, TensorRTTarget)
            part, plans = _write_engines(model.bundle, found, version)
            names = [Path(engine.file).name for engine in part.engines]
        (folder / CONFIG).write_text(pbtxt(config(model.manifest, name, plans)), encoding="utf-8")
        bare = model.manifest.model_copy(update={"tokenizer": None})
        write_manifest(bare, Targets.model_validate({model.target: part}), folder, [CONFIG, *(f"{VERSION}/{file}" for file in names)])
    return repository / name


def _write_engines(bundle: Path, target: TensorRTTarget, version: Path) -> tuple[TensorRTTarget, dict[str, str]]:
    """Copy the engines, named by what they fit; returns where they are, and the file's name by compute capability."""
    engines: list[Engine] = []
    plans: dict[str, str] = {}
    for engine in target.engines:
        fits = "-".join(capability.replace(".", "") for capability in engine.compute_capabilities)
        name = f"sm{fits}.plan" if fits else ENGINE
        shutil.copyfile(bundle / engine.file, version / name)
        engines.append(engine.model_copy(update={"file": f"{VERSION}/{name}"}))
        plans |= dict.fromkeys(engine.compute_capabilities, name)
    return target.model_copy(update={"engines": tuple(engines)}), plans
