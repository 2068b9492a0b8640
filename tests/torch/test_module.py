"""The module that a graph becomes: names, modes, training, compilation, export."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.utils import parametrize

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Constant, Derived, Graph, Node, Origin, Parameter, Value
from lamina.compiler.targets.torch import run_values, save_pt2, to_module
from lamina.compiler.targets.torch.export import export
from lamina.runtime.pt2 import load_module
from lamina.schema.diagnostics import Span, SpecError
from lamina.schema.dims import Dim, Symbol, TensorType

ORIGIN = Origin(Span("model.yaml", 7, 3), "body")
N, T = Symbol("N", 1, 4, 64), Symbol("T", 4, 64, 1024, multiple_of=4)
n, t = Dim.of(N), Dim.of(T)


class Given:
    """Weights by name."""

    def __init__(self, **arrays: Any) -> None:
        self.arrays = {name.replace("__", "."): np.asarray(array, np.float32) for name, array in arrays.items()}

    def get(self, parameter: Parameter) -> Any:
        return _Array(self.arrays[parameter.name])


class _Array:
    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def numpy(self) -> np.ndarray[Any, Any]:
        return self.array


def _builder(inputs: tuple[Value, ...] = ()) -> Builder:
    count = iter(range(10_000))
    dims = {s.name: (v, i) for v in inputs for i, size in enumerate(v.shape) if isinstance(size, Dim) for s in size.symbols}
    return Builder(ORIGIN, "g", dims, lambda prefix: f"{prefix}_{next(count)}")


def _parameter(name: str, *shape: int, trainable: bool = True) -> Parameter:
    return Parameter(name, TensorType("float32", shape), trainable=trainable)


def _normalised() -> tuple[Graph, Given]:
    """Linear, BatchNormalization, Dropout: x [N, 3] -> [N, 5]."""
    x = Value("x", TensorType("float32", (n, 3)))
    g = _builder((x,))
    weight, bias = _parameter("stages.0.forward.weight", 5, 3), _parameter("stages.0.forward.bias", 5)
    scale, shift = _parameter("bn.weight", 5), _parameter("bn.bias", 5)
    mean, var = _parameter("bn.running_mean", 5, trainable=False), _parameter("bn.running_var", 5, trainable=False)
    h = g("Gemm", x, weight, bias, transB=1)
    h = g("BatchNormalization", h, scale, shift, mean, var, epsilon=1e-5, momentum=0.9)
    y = g("Dropout", h, g.constant(0.5, "float32"))
    rng = np.random.default_rng(0)
    given = Given(
        stages__0__forward__weight=rng.normal(size=(5, 3)),
        stages__0__forward__bias=rng.normal(size=5),
        bn__weight=np.ones(5),
        bn__bias=np.zeros(5),
        bn__running_mean=np.zeros(5),
        bn__running_var=np.ones(5),
    )
    return Graph("normalised", (x,), (y,), tuple(g.nodes)), given


def _attention() -> tuple[Graph, Given]:
    """x [N, T, 8] -> windows of 4 tokens that attend within themselves -> [N, T, 8]: two reshapes by computed shapes."""
    x = Value("x", TensorType("float32", (n, t, 8)))
    g = _builder((x,))
    weight = _parameter("mix.weight", 8, 8)
    windows = g.reshape(x, (n * (t // 4), 4, 8))
    scores = g("Softmax", g("MatMul", windows, g.transpose(windows, 0, 2, 1)), axis=-1)
    mixed = g("MatMul", g("MatMul", scores, windows), weight)
    count = g("Cast", g("Mul", g.size(n), g.size(t)), to=1)
    y = g("Div", g("Reshape", mixed, g.shape((n, t, 8))), count)
    return Graph("windows", (x,), (y,), tuple(g.nodes)), Given(mix__weight=np.random.default_rng(1).normal(size=(8, 8)))


def _attention_reference(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    w = x.reshape(x.shape[0], -1, 4, 8)
    y = (torch.softmax(w @ w.mT, -1) @ w @ weight) / (x.shape[0] * x.shape[1])
    return y.flatten(1, 2)


def test_weights_stand_under_their_paths() -> None:
    module = to_module(*_normalised())
    assert [name for name, _ in module.named_parameters()] == ["stages.0.forward.weight", "stages.0.forward.bias", "bn.weight", "bn.bias"]
    assert set(module.state_dict()) == {*dict(module.named_parameters()), "bn.running_mean", "bn.running_var"}
    assert set(copy.deepcopy(module).state_dict()) == set(module.state_dict())


def test_without_weights_parameters_are_on_meta_and_can_be_assigned() -> None:
    graph, given = _normalised()
    module, full = to_module(graph).eval(), to_module(graph, given).eval()
    assert {p.device.type for p in module.parameters()} == {"meta"}
    module.load_state_dict(full.state_dict(), assign=True)
    x = torch.randn(4, 3)
    torch.testing.assert_close(module(x), full(x))


def test_eval_mode_is_linear_layer_then_normalisation() -> None:
    graph, given = _normalised()
    x = torch.randn(4, 3)
    w, b = (torch.from_numpy(given.arrays[f"stages.0.forward.{k}"]) for k in ("weight", "bias"))
    torch.testing.assert_close(to_module(graph, given).eval()(x), F.linear(x, w, b) / (1 + 1e-5) ** 0.5)


def test_train_mode_drops_and_updates_running_statistics_as_batch_norm_does() -> None:
    graph, given = _normalised()
    module, x = to_module(graph, given), torch.randn(16, 3)
    y = module(x)
    assert 0.2 < (y == 0).float().mean() < 0.8
    layer = torch.nn.BatchNorm1d(5)
    w, b = (torch.from_numpy(given.arrays[f"stages.0.forward.{k}"]) for k in ("weight", "bias"))
    layer(F.linear(x, w, b))
    state = module.state_dict()
    torch.testing.assert_close(state["bn.running_mean"], layer.running_mean)
    torch.testing.assert_close(state["bn.running_var"], layer.running_var)
    before = state["bn.running_mean"].clone()
    module.eval()(x)
    torch.testing.assert_close(module.state_dict()["bn.running_mean"], before)


def test_loss_decreases() -> None:
    torch.manual_seed(0)
    module, x = to_module(*_attention()), torch.randn(2, 8, 8)
    target = _attention_reference(x, torch.randn(8, 8))
    optimiser = torch.optim.Adam(module.parameters(), 0.1)
    losses = []
    for _ in range(60):
        loss = F.mse_loss(module(x), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]


def test_inputs_by_name_and_outputs_as_dictionary() -> None:
    a, b = (Value(name, TensorType("float32", (n,))) for name in "ab")
    g = _builder()
    graph = Graph("two", (a, b), (g("Sub", a, b), g("Add", a, b)), tuple(g.nodes))
    module = to_module(graph)
    one, two = torch.ones(3), torch.full((3,), 2.0)
    difference, total = (v.name for v in graph.outputs)
    for result in (module(one, two), module(b=two, a=one), module(one, b=two)):
        assert result[difference].tolist() == [-1] * 3
        assert result[total].tolist() == [3] * 3
    with pytest.raises(TypeError, match="the inputs are a, b"):
        module(one)
    with pytest.raises(TypeError, match="the inputs are a, b"):
        module(one, two, b=two)


def test_derived_weights_carry_gradients() -> None:
    x, weight = Value("x", TensorType("float32", (n, 3))), _parameter("weight", 2, 3)
    transposed = Value("t")
    node = Node("Transpose", (weight,), (transposed,), ORIGIN, {"perm": (1, 0)})
    derived = Derived("t", TensorType("float32", (3, 2)), node)
    g = _builder((x,))
    module = to_module(Graph("derived", (x,), (g("MatMul", x, derived),), tuple(g.nodes)), Given(weight=np.ones((2, 3))))
    module(torch.ones(1, 3)).sum().backward()
    assert module.get_parameter("weight").grad is not None
    torch.testing.assert_close(module.get_parameter("weight").grad, torch.ones(2, 3))


def test_torch_functions_are_called_by_their_dotted_name() -> None:
    x = Value("x", TensorType("float32", (n, 3)))
    g = _builder((x,))
    module = to_module(Graph("fast", (x,), (g.torch("nn.functional.softmax", x, dim=-1, dtype="float64"),), tuple(g.nodes)))
    data = torch.randn(2, 3)
    torch.testing.assert_close(module(data), torch.softmax(data.double(), -1))


def test_weights_can_be_parametrized() -> None:
    module = to_module(*_attention())
    x = torch.randn(2, 8, 8)
    before = module(x)
    parametrize.register_parametrization(module.get_submodule("mix"), "weight", _Twice())
    torch.testing.assert_close(module(x), 2 * before)


class _Twice(torch.nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return 2 * weight


def test_unknown_operator_names_its_line() -> None:
    x = Value("x", TensorType("float32", (n,)))
    g = _builder((x,))
    graph = Graph("odd", (x,), (g("NotAnOperator", x),), tuple(g.nodes))
    with pytest.raises(SpecError, match=r"model.yaml:7:3.*no lowering for the operator NotAnOperator"):
        to_module(graph)
    wrong = Graph("odd", (x,), (g("Softmax", x, flavour=1),), (g.nodes[-1],))
    with pytest.raises(SpecError, match="Softmax does not know the attribute flavour"):
        to_module(wrong)


def test_run_values_are_float64_and_only_what_is_needed() -> None:
    graph, given = _attention()
    softmax = next(node for node in graph.nodes if node.op_type == "Softmax").outputs[0].name
    x = np.random.default_rng(2).normal(size=(1, 4, 8)).astype(np.float32)
    values = run_values(graph, given, {"x": x}, [softmax, graph.outputs[0].name])
    scores = x.astype(np.float64) @ x.astype(np.float64).transpose(0, 2, 1)
    expected = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(values[softmax], expected / expected.sum(-1, keepdims=True), rtol=1e-13)
    reference = _attention_reference(torch.from_numpy(x).double(), torch.from_numpy(given.arrays["mix.weight"]).double())
    np.testing.assert_allclose(values[graph.outputs[0].name], reference.numpy(), rtol=1e-12)
    shapes = run_values(graph, given, {"x": x})
    assert set(shapes) == {v.name for node in graph.nodes for v in node.outputs}
    assert run_values(graph, given, {"x": x}, [softmax], wide=False)[softmax].dtype == np.float32


def test_a_reshape_by_computed_shape_compiles_whole_with_dynamic_sizes() -> None:
    graph, given = _attention()
    module = to_module(graph, given)
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    weight = torch.from_numpy(given.arrays["mix.weight"])
    torch._dynamo.reset()
    counter = torch._dynamo.utils.counters
    counter.clear()
    for shape in ((2, 12, 8), (3, 20, 8), (5, 16, 8)):
        x = torch.randn(shape)
        torch.testing.assert_close(compiled(x), _attention_reference(x, weight), rtol=1e-4, atol=1e-6)
    assert counter["stats"]["unique_graphs"] == 1


def test_export_keeps_the_declared_ranges(tmp_path: Path) -> None:
    graph, given = _attention()
    module = to_module(graph, given)
    program = export(module, graph)
    assert module.training
    weight = torch.from_numpy(given.arrays["mix.weight"])
    for shape in ((1, 4, 8), (64, 12, 8), (3, 1024, 8)):
        x = torch.randn(shape)
        torch.testing.assert_close(program.module(check_guards=False)(x), _attention_reference(x, weight), rtol=1e-4, atol=1e-6)
    ranges = {(int(r.lower), int(r.upper)) for r in program.range_constraints.values()}
    assert {(1, 64), (4, 1024)} <= ranges
    assert torch.__version__.startswith(save_pt2(module, graph, tmp_path / "model.pt2"))
    (tmp_path / "again").mkdir()
    save_pt2(to_module(graph, given), graph, tmp_path / "again" / "model.pt2")
    assert (tmp_path / "again" / "model.pt2").read_bytes() == (tmp_path / "model.pt2").read_bytes()
    loaded = load_module(tmp_path / "model.pt2")
    torch.testing.assert_close(loaded(x), module(x))


@pytest.mark.parametrize(
    "said",
    [RuntimeError("Constraints violated (4*T_unit)!"), AssertionError("Expected op to be '==', got < for (-2) + 2*((T//4)) < T")],
    ids=["refused", "asserted"],
)
def test_other_sizes_are_tried_where_one_equals_another_by_chance(said: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of the small iformer's images do: they are its table of positions'. What PyTorch cannot decide it may assert, too."""
    graph, given = _attention()
    traced, tried = torch.export.export, list[torch.Size]()

    def once(module: Any, arguments: Any, **options: Any) -> Any:
        tried.append(arguments[0].shape)
        if len(tried) == 1:
            raise said
        return traced(module, arguments, **options)

    monkeypatch.setattr(torch.export, "export", once)
    export(to_module(graph, given), graph)
    assert [tuple(shape) for shape in tried] == [(2, 12, 8), (5, 20, 8)]


def test_what_cannot_be_exported_is_refused_at_a_line() -> None:
    x = Value("x", TensorType("float32", (n, t)))
    g = _builder((x,))
    graph = Graph("fixed", (x,), (g("Add", x, g.constant([0.0] * 12, "float32")),), tuple(g.nodes))
    with pytest.raises(SpecError, match=r"model.yaml:7:3: error\[torch\]: torch.export does not take the model"):
        export(to_module(graph), graph)


def test_the_step_is_named_with_which_export_is_refused() -> None:
    """PyTorch names none: a size of 12 is asked for by the second step of three, and by no other."""
    x, weight = Value("x", TensorType("float32", (n, t))), _parameter("scale", 1)
    g = _builder((x,))
    first = g.at(Origin(Span("model.yaml", 8, 5), "first"))("Mul", x, weight)
    second = g.at(Origin(Span("model.yaml", 9, 5), "second"))("Add", first, g.constant([0.0] * 12, "float32"))
    third = g.at(Origin(Span("model.yaml", 10, 5), "third"))("Relu", second)
    graph = Graph("fixed", (x,), (third,), tuple(g.nodes))
    with pytest.raises(SpecError, match=r"model.yaml:9:5: error\[torch\]: torch.export does not take the model: .* \(in `second`\)"):
        export(to_module(graph, Given(scale=[2.0])), graph)


def test_weights_and_constants_say_where_they_come_from() -> None:
    """A weight where it is declared, a constant where it is first read."""
    x = Value("x", TensorType("float32", (n, 3)))
    g = _builder((x,))
    two = Constant("two", TensorType("float32", (3,)), np.full(3, 2.0, np.float32))
    declared = Origin(Span("model.yaml", 3, 9), "stem")
    weight = replace(_parameter("stem.weight", 3), origin=declared)
    scaled = g.at(Origin(Span("model.yaml", 8, 5), "scaled"))("Mul", x, weight)
    y = g.at(Origin(Span("model.yaml", 9, 5), "doubled"))("Mul", scaled, two)
    module = to_module(Graph("scaled", (x,), (g.at(Origin(Span("model.yaml", 10, 5), "again"))("Mul", y, two),), tuple(g.nodes)))
    assert module.origins == {"stem.weight": declared, "_constant_0": Origin(Span("model.yaml", 9, 5), "doubled")}


def test_what_tracing_stops_at_is_named_by_its_own_line() -> None:
    x, y, z = (Value(name, TensorType("float32", shape)) for name, shape in (("x", (n, t)), ("y", (n, t)), ("z", (n, 12))))
    twelve = Constant("twelve", TensorType("float32", (12,)), np.zeros(12, np.float32))
    steps = [
        Node("Neg", (x,), (y,), Origin(Span("model.yaml", 3, 1), "")),
        Node("Add", (y, twelve), (z,), Origin(Span("model.yaml", 5, 2), "")),
    ]
    graph = Graph("fixed", (x,), (z,), tuple(steps))
    with pytest.raises(SpecError) as caught:
        export(to_module(graph), graph)
    assert [(d.span.line, d.span.column) for d in caught.value.diagnostics] == [(5, 2)]


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_a_scalar_index_leaves_nothing_to_run_time(dtype: str) -> None:
    x = Value("x", TensorType("float32", (n, t)))
    g = _builder((x,))
    graph = Graph("pick", (x,), (g("Gather", x, g.constant(-1, dtype), axis=1),), tuple(g.nodes))
    program = export(to_module(graph), graph)
    assert "item" not in str(program.graph)
    data = torch.randn(3, 8)
    torch.testing.assert_close(program.module(check_guards=False)(data), data[:, -1])


def test_constants_follow_the_module_but_not_its_state() -> None:
    x = Value("x", TensorType("float32", (n, 3)))
    g = _builder((x,))
    two = Constant("two", TensorType("float32", (3,)), np.full(3, 2.0, np.float32))
    module = to_module(Graph("twice", (x,), (g("Mul", x, two),), tuple(g.nodes)))
    assert module.state_dict() == {}
    assert copy.deepcopy(module).double()(torch.ones(1, 3, dtype=torch.float64)).dtype is torch.float64


RANDOM = [
    ("RandomNormal", {"shape": (20_000,), "mean": 2.0, "scale": 0.5}, 2.0, 0.5),
    ("RandomUniform", {"shape": (20_000,), "low": -1.0, "high": 3.0}, 1.0, 4 / 12**0.5),
    ("RandomNormalLike", {"mean": 2.0, "scale": 0.5}, 2.0, 0.5),
    ("RandomUniformLike", {"low": -1.0, "high": 3.0}, 1.0, 4 / 12**0.5),
    ("Bernoulli", {}, 0.3, 0.21**0.5),
    ("Multinomial", {"sample_size": 20_000, "dtype": 7}, 0.0, 0.0),
]


@pytest.mark.parametrize(("op", "attributes", "mean", "deviation"), RANDOM)
def test_random_operators_have_their_moments(op: str, attributes: dict[str, Any], mean: float, deviation: float) -> None:
    torch.manual_seed(0)
    x = Value("x", TensorType("float32", (n, 10_000)))
    g = _builder((x,))
    inputs = () if "shape" in attributes else (x,)
    graph = Graph("random", (x,), (g(op, *inputs, **attributes),), tuple(g.nodes))
    data = torch.full((2, 10_000), 0.3)
    if op == "Multinomial":
        data[:, 1:] = -100.0  # only class 0 has any probability
    drawn = to_module(graph)(data)
    assert isinstance(drawn, torch.Tensor)
    assert drawn.numel() >= 20_000
    assert drawn.double().mean().item() == pytest.approx(mean, abs=0.03)
    assert drawn.double().std().item() == pytest.approx(deviation, abs=0.02)


def test_global_lp_pool_is_the_norm_of_each_map() -> None:
    x = Value("x", TensorType("float32", (n, 3, 4, 5)))
    g = _builder((x,))
    module = to_module(Graph("pool", (x,), (g("GlobalLpPool", x, p=3),), tuple(g.nodes)))
    data = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(module(data), torch.linalg.vector_norm(data, 3, (2, 3), keepdim=True))
