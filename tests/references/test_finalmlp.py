"""A gate that looks at no field is the same for all samples: nothing of it is left to compute."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "tabular" / "finalmlp.yaml"


@pytest.mark.parametrize(("variant", "gates"), [("finalmlp_frappe", 2), ("finalmlp_movielens", 0), ("dualmlp_frappe", 0)])
@pytest.mark.parametrize("file", ["model.onnx", "model.ort.onnx"])
def test_a_gate_without_context_is_folded(tmp_path: Path, variant: str, gates: int, file: str) -> None:
    bundle = lamina.compile(lamina.load(SPEC, variant=variant, small=True), tmp_path / "bundle")
    operators = [node.op_type for node in onnx.load(bundle / file).graph.node]
    assert operators.count("Sigmoid") == gates + 1  # and the probability's
    assert operators.count("Relu") == 5 + 2 * gates  # of the streams' layers, and of each gate's
