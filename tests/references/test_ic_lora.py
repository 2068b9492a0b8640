"""In-Context LoRA: no operator more than its base, adapters that a session changes, and panels that stay while others are sampled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from cases import EXPECTED, references
from fill import uniform
from safetensors.numpy import load_file, save_file

import lamina
from lamina.runtime import Session
from lamina.schema.diagnostics import SpecError
from lamina.schema.spec import ModelSpec

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "ic_lora.yaml"
BASE = SPEC.parents[1] / "generative" / "flux.yaml"
CASE = next(case for case in references() if str(case) == "flux-dev")
ADAPTERS, FILE = EXPECTED / "flux_adapters", "pytorch_lora_weights.safetensors"


def test_a_compiled_graph_has_no_more_operators_than_its_base(tmp_path: Path) -> None:
    found = []
    for path in (SPEC, BASE):
        bundle = lamina.compile(lamina.load(path, variant="dev", small=True), tmp_path / path.stem, ["onnx", "onnxruntime"])
        graphs = [onnx.load(bundle / file, load_external_data=False).graph for file in ("model.onnx", "model.ort.onnx")]
        found.append([sorted(node.op_type for node in graph.node) for graph in graphs])
    assert found[0] == found[1]


def test_every_linear_of_every_block_is_adapted() -> None:
    """14 of each block with weights for text and image, 6 of the others: 494 at full size, with a rank of 16."""
    weights = lamina.to_torch(lamina.load(SPEC, variant="dev", small=True)).state_dict()
    assert sum(".lora.a." in name for name in weights) == 2 * 14 + 2 * 6
    linears = {name.removesuffix(".weight") for name, w in weights.items() if w.ndim == 2 and "adapter" not in name and "_blocks." in name}
    assert {name.split(".adapter.")[0] for name in weights if ".adapter." in name} == linears
    assert 19 * 14 + 38 * 6 == 494


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the base with adapters of diffusers': a file, a folder with one, and the first file with alphas of half its rank."""
    folder = tmp_path_factory.mktemp("adapters")
    save_file({k: np.ascontiguousarray(v) for k, v in CASE.checkpoint().items()}, folder / "weights.safetensors")
    couple = ADAPTERS / "couple" / FILE
    tensors = load_file(couple)
    alphas = {k.replace("lora_A.weight", "alpha"): np.array(len(v) / 2, np.float32) for k, v in tensors.items() if "lora_A" in k}
    save_file({**tensors, **alphas}, folder / "half.safetensors")
    adapters = {"couple": couple, "story": ADAPTERS / "story", "half": folder / "half.safetensors"}
    lamina.compile(base(), folder / "bundle", ["onnx", "onnxruntime"], folder / "weights.safetensors", adapters=adapters)
    return folder


def base() -> ModelSpec:
    return lamina.load(BASE, variant="dev", small=True)


def assert_gives(session: Session, wanted: Sequence[np.ndarray]) -> None:
    for feeds, want in zip(CASE.inputs(), wanted, strict=True):
        np.testing.assert_allclose(session(**feeds)["velocity"], want, rtol=0, atol=CASE.tolerance * np.abs(want).max())


@pytest.mark.parametrize("backend", ["onnx", "onnxruntime"])
def test_a_session_changes_adapters(backend: str, folder: Path) -> None:
    """Each gives what diffusers computes with it, before and after others, and none gives what the base does, on every canvas."""
    alone = [outputs["velocity"] for outputs in CASE.outputs()]
    with np.load(ADAPTERS / "velocities.npz") as stored, Session(folder / "bundle", backend=backend) as session:
        wanted = {name: [stored[f"{name}.{i}"] for i in range(len(alone))] for name in ("couple", "story")}
        assert np.abs(wanted["couple"][1] - wanted["story"][1]).max() > 1e-2
        for name in ("couple", "story", None, "couple"):
            session.set_adapter(name)
            assert_gives(session, alone if name is None else wanted[name])


def test_mixtures_are_merged_weights(folder: Path, tmp_path: Path) -> None:
    """A module's own alpha over its rank scales its product, and what a file says of all modules does for the others."""
    state = CASE.checkpoint()
    for name, weight in {"couple": 0.5 * 0.6, "story": -0.8}.items():
        tensors = load_file(ADAPTERS / name / FILE)
        for key in [k for k in tensors if "lora_A" in k]:
            module = key.removeprefix("transformer.").removesuffix(".lora_A.weight")
            alpha = 2 if name == "couple" or module == "transformer_blocks.0.attn.to_q" else 6
            product = tensors[key.replace("lora_A", "lora_B")] @ tensors[key]
            state[f"{module}.weight"] = state[f"{module}.weight"] + weight * alpha / len(tensors[key]) * product
    save_file({k: np.ascontiguousarray(v) for k, v in state.items()}, tmp_path / "merged.safetensors")
    merged = Session(lamina.compile(base(), tmp_path / "merged", weights=tmp_path / "merged.safetensors"))
    with Session(folder / "bundle") as session:
        session.set_adapter({"half": 0.6, "story": -0.8})
        assert_gives(session, [merged(**feeds)["velocity"] for feeds in CASE.inputs()])


@pytest.mark.parametrize(
    "change", [{"alpha": np.ones(2, np.float32)}, {"lora_magnitude_vector": np.ones(32, np.float32)}], ids=["alpha", "more"]
)
def test_files_that_hold_something_else_are_refused(change: dict[str, np.ndarray], tmp_path: Path) -> None:
    tensors = load_file(ADAPTERS / "couple" / FILE)
    at = next(iter(tensors)).split(".lora_")[0]
    save_file({**tensors, **{f"{at}.{name}": value for name, value in change.items()}}, tmp_path / FILE)
    with pytest.raises(SpecError, match="must be a number" if "alpha" in change else "is no matrix A or B"):
        lamina.compile(base(), tmp_path / "bundle", weights="none", adapters={"a": tmp_path})


@pytest.mark.parametrize("axis", [2, 3], ids=["tall", "wide"])
def test_given_panels_stay_what_they_are(axis: int, tmp_path: Path) -> None:
    """Two panels, the first one given: at each step of the sampler it is as noisy as the time says, and at the end what it is.

    The second depends on it.
    """
    spec = lamina.load(SPEC, variant="dev-inpaint", small=True)
    weights = {k: 0.3 * uniform(k, tuple(v.shape)) for k, v in lamina.to_torch(spec).state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")
    session = Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))
    shape = (1, 2, 8, 4) if axis == 2 else (1, 2, 4, 8)
    given, noise = (uniform(name, shape) for name in ("given", "noise"))
    free = np.ones((1, 1, *shape[2:]), np.float32)
    first, second = np.split(np.arange(8), 2)
    np.moveaxis(free, axis, 0)[first] = 0

    def sampled(given: np.ndarray) -> np.ndarray:
        common = {"text": uniform("text", (1, 3, 12)), "pooled": uniform("pooled", (1, 10)), "guidance": np.float32([3.5])}
        held = {**common, "given": given, "noise": noise, "free": free}
        for step in lamina.sample_stream(session, held, noise=noise, method="flow", steps=5):
            time = 1 - step.number / step.of
            wanted = time * noise + (1 - time) * given
            np.testing.assert_allclose(step.samples.take(first, axis), wanted.take(first, axis), atol=1e-5)
        return step.samples

    found, other = (sampled(given + added).take(second, axis) for added in (0, 1))
    assert np.abs(found - other).max() > 1e-3
