"""Hydra's branches are changes of the weights and biases that they stand beside; and how many parameters they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from fill import fill
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.lower import lower

SPECS = Path(__file__).parents[2] / "specs"
SPEC, BASE = SPECS / "adapter" / "hydra_adapter.yaml", SPECS / "vision" / "vit.yaml"


def test_branches_are_merged_into_the_base() -> None:
    """W = W0 + s (Bp Ap + Bs As W0) and b = b0 + s (bp + Bs As b0 + bs), where a branch's bias is B a + b of its two biases."""
    module, plain = (
        lamina.to_torch(lamina.load(SPEC, "base", small=True)).eval(),
        lamina.to_torch(lamina.load(BASE, "base", small=True)).eval(),
    )
    state = {key: torch.from_numpy(fill(key, tuple(value.shape))) for key, value in module.state_dict().items()}
    module.load_state_dict(state)
    merged = {key: value.clone() for key, value in state.items() if ".adapter." not in key}
    for at in (f"blocks.{i}.encoder.{part}" for i in range(2) for part in ("attn.proj", "mlp.fc2")):
        changes = {}
        for name in ("parallel", "sequential"):
            down, up = (f"{at}.adapter.{name}.{half}_proj" for half in ("down", "up"))
            product = state[f"{up}.weight"] @ state[f"{down}.weight"]
            changes[name] = product, state[f"{up}.weight"] @ state[f"{down}.bias"] + state[f"{up}.bias"]
        (first, first_bias), (second, second_bias) = changes.values()
        merged[f"{at}.weight"] += 0.1 * (first + second @ state[f"{at}.weight"])
        merged[f"{at}.bias"] += 0.1 * (first_bias + second @ state[f"{at}.bias"] + second_bias)
    plain.load_state_dict(merged)
    image = torch.from_numpy(fill("image", (2, 3, 32, 32)))
    with torch.no_grad():
        wanted, before = plain(image), lamina.to_torch(lamina.load(BASE, "base", small=True)).eval()(image)
        np.testing.assert_allclose(module(image), wanted, atol=1e-5 * float(wanted.abs().max()))
    assert not torch.allclose(wanted, before, atol=1e-2)


@pytest.mark.parametrize("target", ["onnx", "onnxruntime", "tensorrt"])
@pytest.mark.parametrize("small", [True, False], ids=["small", "whole"])
def test_no_operator_is_left_of_the_branches(target: Literal["onnx", "onnxruntime", "tensorrt"], small: bool) -> None:
    graphs = [lower(elaborate(lamina.load(path, "base", small=small)).graph, target) for path in (SPEC, BASE)]
    found, wanted = (Counter(node.op_type for node in graph.nodes) for graph in graphs)
    assert found == wanted


def test_merged_graphs_give_what_branches_give(tmp_path: Path) -> None:
    """The module has them; ONNX's evaluator and ONNX Runtime run the merged graph."""
    spec = lamina.load(SPEC, "base", small=True).model_copy(update={"weights": None})
    module = lamina.to_torch(spec).eval()
    state = {key: fill(key, tuple(value.shape)) for key, value in module.state_dict().items()}
    module.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    save_file({key: np.ascontiguousarray(value) for key, value in state.items()}, tmp_path / "weights.safetensors")
    bundle = lamina.compile(spec, tmp_path / "bundle", ["onnx", "onnxruntime"], tmp_path / "weights.safetensors")
    image = fill("image", (2, 3, 32, 32))
    with torch.no_grad():
        wanted = module(torch.from_numpy(image)).numpy()
    sessions = [lamina.Session(bundle, backend=backend)(image=image)["logits"] for backend in ("onnx", "onnxruntime")]
    for found in (ReferenceEvaluator(str(bundle / "model.onnx")).run(None, {"image": image})[0], *sessions):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_new_branches_change_nothing() -> None:
    image = torch.from_numpy(fill("image", (2, 3, 32, 32)))
    with torch.no_grad():
        found, wanted = (lamina.to_torch(lamina.load(path, "base", small=True)).eval()(image) for path in (SPEC, BASE))
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)


def test_parameters_are_those_of_the_authors_table() -> None:
    """0.28M with a head of the 49 or 50 classes that VTAB-1K's tasks have on the average."""
    classes = [100, 102, 47, 102, 37, 10, 397, 2, 10, 45, 5, 8, 6, 6, 4, 16, 16, 18, 9]
    parameters = elaborate(lamina.load(SPEC, "base")).graph.parameters()
    branches = sum(int(np.prod(p.shape)) for p in parameters if ".adapter." in p.name)  # type: ignore[arg-type]
    assert branches == 12 * (8450 + 3 * 3842)
    assert round((branches + 769 * sum(classes) / len(classes)) / 1e6, 2) == 0.28
