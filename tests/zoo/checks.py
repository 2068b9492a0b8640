"""What each case of the zoo is put through: a bundle with lively weights, ONNX Runtime, PyTorch, TensorRT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort
from safetensors.numpy import save_file
from zoo import Case, Lively, assert_agree, expected, model, outputs_of, torch_module

import lamina
from lamina.runtime.manifest import OnnxTarget, read_manifest
from lamina.runtime.rooms import Rooms

FILES = ("model.onnx", "model.ort.onnx")
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")


@contextmanager
def bundle(case: Case, targets: Sequence[str] = ("onnx", "onnxruntime")) -> Iterator[Path]:
    """A bundle with lively weights."""
    with TemporaryDirectory() as folder:
        weights = Path(folder) / "lively.safetensors"
        save_file({p.name: np.ascontiguousarray(Lively().get(p).numpy()) for p in model(case).graph.parameters()}, weights)
        yield lamina.compile(case.spec(), Path(folder) / "bundle", targets=targets, weights=weights)


def onnx_runtime(case: Case, folder: Path, sessions: Iterable[tuple[str, str]]) -> float:
    """The largest error of these files at these optimisation levels, at every point."""
    worst = 0.0
    manifest = read_manifest(folder)
    rooms = {t.file: Rooms(manifest, t.preallocated) for t in manifest.targets.built().values() if isinstance(t, OnnxTarget)}
    for file, level in sessions:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        session = ort.InferenceSession(folder / file, options, providers=["CPUExecutionProvider"])
        for feeds, want in expected(case):
            got = dict(zip(want, session.run(list(want), rooms[file].with_room(feeds)), strict=True))
            worst = max(worst, assert_agree(got, want, f"{case}, {file} at {level}"))
    return worst


def pytorch(case: Case) -> float:
    """The largest error of the module in eval mode."""
    module = torch_module(case).eval()
    return max(assert_agree(outputs_of(module, feeds, list(want)), want, f"{case}, PyTorch") for feeds, want in expected(case))


def tensorrt(case: Case) -> str:
    """Which library took the whole graph, with every dynamic dim dynamic: a plan that is built holds the entire graph."""
    with TemporaryDirectory() as folder:
        built = lamina.compile(case.spec(), Path(folder) / "bundle", targets=["tensorrt"])
        target = read_manifest(built).targets.tensorrt
        assert target is not None
        assert list((built / "engines").iterdir())
        return f"{target.library} {target.version}"
