"""Every spec of the zoo, small: each target computes what the unfused definition computes in float64, and the module learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from checks import FILES, LEVELS, bundle, onnx_runtime, pytorch, tensorrt
from zoo import Case, assert_agree, expected, files, inputs, model, outputs_of, points, small_case, torch_module, trained_module

import lamina
from lamina.compiler.support import check_target
from lamina.schema.dims import Dim, value_of

SHARE = 1e-4  # of the loss, by which a step lowers it
FOUND = list(files())
# Both files as they are written and as ONNX Runtime likes them best.
SESSIONS = [(file, level) for file in FILES for level in (LEVELS[0], LEVELS[-1])]


@pytest.fixture(scope="module", params=FOUND, ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest) -> Case:
    """One small case of each spec: tests of a case stand together, since they share what it should give."""
    return small_case(request.param)


def test_onnx_runtime_agrees(case: Case) -> None:
    with bundle(case) as folder:
        onnx_runtime(case, folder, SESSIONS)
        for file in FILES:
            assert_declared(folder / file)


@pytest.mark.sweep
def test_onnx_runtime_agrees_at_every_optimisation_level(case: Case) -> None:
    with bundle(case, ["onnxruntime"]) as folder:
        onnx_runtime(case, folder, [(FILES[1], level) for level in LEVELS])


def assert_declared(file: Path) -> None:
    """onnx takes the file, and infers what it declares of its outputs."""
    onnx.checker.check_model(file)
    declared = onnx.load(file, load_external_data=False)
    bare = onnx.ModelProto()
    bare.CopyFrom(declared)
    for output in bare.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    for ours, theirs in zip(declared.graph.output, inferred.graph.output, strict=True):
        assert (ours.name, ours.type.tensor_type.elem_type) == (theirs.name, theirs.type.tensor_type.elem_type)
        found = _sizes(theirs) or [""] * len(_sizes(ours))  # of what a Loop carries onnx infers nothing
        sizes = zip(_sizes(ours), found, strict=True)
        assert all(b in (a, "") or (not isinstance(b, int) and "unk__" in b) for a, b in sizes), (_sizes(ours), _sizes(theirs))


def _sizes(info: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_param or d.dim_value or "" for d in info.type.tensor_type.shape.dim]


def test_pytorch_agrees(case: Case) -> None:
    pytorch(case)


def test_tensorrt_takes_the_whole_graph(case: Case) -> None:
    """Its parser does. Engines take ten times longer: the sweep builds them, and tests/tensorrt those of ops."""
    check_target(case.spec(), "tensorrt")


@pytest.mark.sweep
def test_tensorrt_builds(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path))
    tensorrt(case)


def test_declared_output_sizes_hold(case: Case) -> None:
    """The reference's outputs have the sizes that the spec declares, evaluated at the point."""
    found = model(case)
    for (_, want), point in zip(expected(case), points(found), strict=True):
        declared = {v.name: tuple(value_of(s, point) if isinstance(s, Dim) else s for s in v.shape) for v in found.graph.outputs}
        assert {k: v.shape for k, v in want.items()} == declared


def test_a_step_of_sgd_lowers_the_loss(case: Case) -> None:
    """By the ten thousandth that the gradient promises, or thereabouts: so little that no token chooses another expert. What only a
    choice follows from learns by the losses beside."""
    module = trained_module(case)
    if parameters := list(module.parameters()):
        before, after = _step(module, parameters, *expected(case)[1])
        assert 0.5 < (before - after) / (SHARE * before) < 1.5


def _step(
    module: torch.nn.Module, parameters: list[torch.nn.Parameter], feeds: dict[str, np.ndarray], want: dict[str, np.ndarray]
) -> tuple[float, float]:
    tensors = {k: torch.from_numpy(v) for k, v in feeds.items()}
    rng = np.random.default_rng(0)
    targets = {k: torch.from_numpy(rng.standard_normal(v.shape)).float() for k, v in want.items() if v.dtype.kind == "f"}

    def loss() -> torch.Tensor:
        torch.manual_seed(0)
        found = module(**tensors)
        found = found if isinstance(found, dict) else {next(iter(want)): found}
        beside = [value.square().sum() for k, value in found.items() if k not in want and value.requires_grad]
        return torch.stack([*((found[k] - target).square().sum() for k, target in targets.items()), *beside]).sum()

    before = loss()
    before.backward()
    gradients = [p.grad for p in parameters if p.grad is not None]
    assert len(gradients) == len(parameters)
    steepness = sum(g.square().sum().item() for g in gradients)
    torch.optim.SGD(parameters, lr=SHARE * before.item() / steepness).step()
    return before.item(), loss().item()


def test_torch_compile_agrees() -> None:
    case = Case(next(p for p in FOUND if p.stem == "vit"), None, small=True)
    module = torch_module(case).eval()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=True)
    for point in points(model(case)):
        feeds = inputs(model(case), point)
        assert_agree(outputs_of(compiled, feeds, ["logits"]), outputs_of(module, feeds, ["logits"]), "torch.compile")


def test_every_spec_says_how_to_be_small() -> None:
    assert [path.name for path in FOUND if not lamina.load(path).small] == []
