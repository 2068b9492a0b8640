"""Our convolution of 3 by 3 against ONNX Runtime's, alone and in whole models, and how both err against float64.

    python -m benchmarks.conv [--threads 1 2] [--rounds 20] [--models resnet:r18 resnet:r50 vovnet:39 ...]

The two take turns, so that a busy moment hits both; a ratio is the median over rounds of theirs against ours in the same round. A model is
one bundle in two sessions, of which one is told of no instructions, so that it has none of our kernels.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

import lamina
from benchmarks.peers import ZOO
from lamina.runtime import Session, native
from lamina.runtime.samples import sample_inputs

# Images, channels, filters, and the length of a side.
SHAPES = ((1, 64, 64, 56), (1, 128, 128, 28), (1, 256, 256, 14), (1, 512, 512, 7), (8, 64, 64, 56), (8, 256, 256, 14), (1, 16, 16, 112))
MODELS = ("resnet:r18", "resnet:r50", "vovnet:39")
Array = np.ndarray[Any, Any]


def session(weight: Array, threads: int, *, ours: bool) -> ort.InferenceSession:
    """Of one convolution."""
    filters = len(weight)
    stored = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.ones(filters, np.float32), "bias")]
    sides = {"top": 1, "left": 1, "bottom": 1, "right": 1}
    names = ["x", "weight", "bias"], ["y"]
    node = helper.make_node("Conv", *names, domain="lamina.native", **sides) if ours else helper.make_node("Conv", *names, pads=[1] * 4)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    graph = helper.make_graph([node], "g", [x], [y], stored)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("lamina.native", 1)]
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(native.library()))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def raced(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> str:
    """Milliseconds of both, and the ratio."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    own, other = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
    return f"{own:.2f} ms, theirs {other:.2f}: {statistics.median(b / a for a, b in pairs):.2f}x"


def seconds(call: Callable[[], Any]) -> float:
    """Of the median of three calls, after one that wakes the threads."""
    call()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def error(y: Array, exact: Array) -> float:
    return float(np.sqrt(((y - exact) ** 2).mean() / (exact**2).mean()))


def shapes(threads: int, rounds: int) -> None:
    random = np.random.default_rng(0)
    for images, channels, filters, side in SHAPES:
        x = {"x": random.standard_normal((images, channels, side, side)).astype(np.float32)}
        weight = (random.standard_normal((filters, channels, 3, 3)) / (9 * channels) ** 0.5).astype(np.float32)
        ours, theirs = (session(weight, threads, ours=own) for own in (True, False))
        a, b = torch.from_numpy(x["x"]).double(), torch.from_numpy(weight).double()
        exact = torch.nn.functional.conv2d(a, b, torch.ones(filters).double(), padding=1).numpy()
        errors = [error(made.run(None, x)[0], exact) for made in (ours, theirs)]
        told = raced(lambda made=ours, x=x: made.run(None, x), lambda made=theirs, x=x: made.run(None, x), rounds)  # type: ignore[misc]
        print(
            f"{threads} threads, {images} x {channels} x {side} x {side} to {filters}: {told}; errors {errors[0]:.1e}, {errors[1]:.1e}",
            flush=True,
        )


def model(name: str, threads: int, rounds: int) -> None:
    spec, _, variant = name.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        bundle = lamina.compile(lamina.load(ZOO / "vision" / f"{spec}.yaml", variant or None), Path(folder) / "bundle", ["onnxruntime"])
        ours, theirs = opened(bundle, threads, {}), opened(bundle, threads, {"LAMINA_INSTRUCTIONS": "none"})
        for images in (1, 8):
            x = sample_inputs(ours.manifest, {"N": images})
            print(
                f"{threads} threads, {name}, batch {images}: {raced(lambda x=x: ours.run(x), lambda x=x: theirs.run(x), rounds)}",
                flush=True,
            )  # type: ignore[misc]


def opened(bundle: Path, threads: int, environment: Mapping[str, str]) -> Session:
    """The session that is opened where these variables are set."""
    os.environ.update(environment)
    try:
        return Session(bundle, threads=threads)
    finally:
        for variable in environment:
            del os.environ[variable]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--models", nargs="*", default=MODELS)
    options = parser.parse_args()
    if native.instructions() in (None, "none"):
        raise SystemExit("there are no kernels for this processor")
    for threads in options.threads:
        shapes(threads, options.rounds)
        for name in options.models:
            model(name, threads, options.rounds)


if __name__ == "__main__":
    main()
