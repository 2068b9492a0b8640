"""Classification by components: what its outputs mean, its one affine map, and the prototypes, by loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from evidence import Record
from fill import uniform
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "memory" / "cbc.yaml"
Array = np.ndarray


def compiled(folder: Path, variant: str) -> tuple[Path, dict[str, Array]]:
    spec = lamina.load(SPEC, variant=variant, small=True)
    weights = {p.name: 2 * uniform(p.name, p.shape) for p in elaborate(spec).graph.parameters()}
    save_file(weights, folder / "weights.safetensors")
    return lamina.compile(spec, folder / "bundle", weights=folder / "weights.safetensors"), weights


def test_prototypes(tmp_path: Path, record: Record) -> None:
    """A detection is exp(-d^2 / width) of the place that is nearest; a class's score sums r+ of what is there and r- of what is not."""
    bundle, weights = compiled(tmp_path, "rbf")
    features = 2 * uniform("features", (3, 6, 4, 2))
    got = lamina.Session(bundle)(features=features)
    r = np.exp(weights["reasoning"].astype(np.float64))
    positive, negative = np.split(r / r.sum(0), 2)
    worst = 0.0
    for n, image in enumerate(features):
        places = [image[:, i, j] for i, j in np.ndindex(4, 2)]
        d = np.array([max(np.exp(-np.square(p - q).sum() / 6) for q in places) for p in weights["detect.prototypes"]])
        scores = [sum(d[k] * positive[k, c] + (1 - d[k]) * negative[k, c] for k in range(6)) for c in range(5)]
        worst = max(worst, np.abs(got["probabilities"][n] - scores).max(), np.abs(got["detections"][n] - d).max())
    assert worst <= 1e-6
    record(SPEC, "rbf", "parity", f"{worst:.0e} of loops over prototypes and places, small")


@pytest.mark.parametrize("variant", ["pip", "pip_projected", "rbfnet", "rbf"])
def test_every_score_is_a_probability(tmp_path: Path, variant: str) -> None:
    """Also where everything or nothing is detected; and each class's evidence sums to one."""
    bundle, _ = compiled(tmp_path, variant)
    session = lamina.Session(bundle)
    for scale in (0, 1, 1000):
        got = session(features=np.float32(scale) * uniform("features", (4, 6, 3, 3)))
        for scores in (got["probabilities"], got["detections"]):
            assert scores.min() >= -1e-6
            assert scores.max() <= 1 + 1e-6
    np.testing.assert_allclose((got["positive"] + got.get("negative", 0)).sum(0), 1, rtol=1e-6)


@pytest.mark.parametrize("variant", ["pip", "rbfnet", "pipnet"])
def test_the_head_is_one_affine_map(tmp_path: Path, variant: str) -> None:
    """The softmax of the reasoning, or what keeps weights from being negative, is computed once, when it is compiled."""
    bundle, _ = compiled(tmp_path, variant)
    graph = onnx.load(bundle / "model.onnx").graph
    operators = [node.op_type for node in graph.node]
    assert operators.count("MatMul") + operators.count("Gemm") == 1
    assert operators.count("Softmax") == 1  # of the features
    assert not {"Sub", "Relu", "Transpose"} & set(operators)
