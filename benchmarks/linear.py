"""Our linear layer on a matrix unit of bfloat16 against ONNX Runtime's own product, and how both err against float64.

    python -m benchmarks.linear [--threads 1 2] [--rounds 30]

The two take turns, so that a busy moment hits both; a ratio is the median over rounds of theirs against ours in the same round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from lamina.runtime import native

SHAPES = ((128, 384, 384), (128, 384, 1536), (128, 1536, 384), (197, 384, 1152), (197, 768, 3072), (1576, 384, 1536), (3136, 96, 384))
Array = np.ndarray[Any, Any]


def session(op: str, domain: str, weight: Array, threads: int) -> ort.InferenceSession:
    node = helper.make_node(op, ["x", "weight"], ["y"], domain=domain)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy")
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(weight, "weight")])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("lamina.native", 1)]
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(str(native.library()))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def seconds(made: ort.InferenceSession, x: Array) -> float:
    """Of the median of five runs, after one that wakes the threads."""
    made.run(None, {"x": x})
    times = []
    for _ in range(5):
        start = time.perf_counter()
        made.run(None, {"x": x})
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def error(y: Array, exact: Array) -> float:
    return float(np.sqrt(((y - exact) ** 2).mean() / (exact**2).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    if native.instructions() != "AMX":
        raise SystemExit(f"this processor has no matrix unit of bfloat16: {native.instructions()}")
    random = np.random.default_rng(0)
    for threads in options.threads:
        for rows, depth, width in SHAPES:
            x, weight = (random.standard_normal(shape).astype(np.float32) for shape in ((rows, depth), (depth, width)))
            ours, theirs = session("Linear", "lamina.native", weight, threads), session("MatMul", "", weight, threads)
            pairs = [(seconds(ours, x), seconds(theirs, x)) for _ in range(options.rounds)]
            exact = x.astype(np.float64) @ weight
            errors = [error(made.run(None, {"x": x})[0], exact) for made in (ours, theirs)]
            own, other = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(b / a for a, b in pairs)
            print(f"{threads} threads, {rows} x {depth} x {width}: {own:.2f} ms, theirs {other:.2f}: {ratio:.2f}x; "
                  f"errors {errors[0]:.1e}, {errors[1]:.1e}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
