"""What examples cannot say of the neural ops: refusals a stranger can act on, initialisers, train mode, and the pass that joins heads."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import op_harness as bench
import pytest
import torch

from lamina.compiler.builder import Builder
from lamina.compiler.graph import Graph, Origin, Value
from lamina.compiler.op import OpError
from lamina.compiler.passes.deduplicate import deduplicate
from lamina.compiler.passes.join_heads import join_heads
from lamina.compiler.targets.torch.module import LaminaModule
from lamina.schema.diagnostics import Span
from lamina.schema.dims import TensorType

IMAGE, TOKENS = "float32[b, 3, h, w]", "float32[b, t, 8]"
HEADS = "float32[b, 4, t, 8]"
REFUSED = [
    ("linear", {"out": 3}, ["float32[b, t]"], "the last dim of float32[b, t] must be fixed, but it is the dynamic size t"),
    ("linear", {"out": 3}, ["int64[b, 8]"], "the input must be floating point, but it is int64[b, 8]"),
    ("conv", {"out": 4, "kernel": 3}, ["float32[b, 3]"], "must have 3 or 4 or 5 dimensions, but it is float32[b, 3]"),
    ("conv", {"out": 4, "kernel": [3, 3, 3]}, [IMAGE], "`kernel` is [3, 3, 3], but the input has 2 spatial dimensions"),
    ("conv", {"out": 4, "kernel": 3, "groups": 2}, [IMAGE], "`groups` is 2, which does not divide the input's channels, 3"),
    ("conv", {"out": 4, "kernel": 3, "groups": 3}, [IMAGE], "`groups` is 3, which does not divide `out`, 4"),
    ("conv", {"out": 4, "kernel": 9}, [IMAGE], "the window spans 9 elements, but dim 2 of float32[b, 3, h, w] can be as small as 8"),
    (
        "conv",
        {"out": 4, "kernel": 3, "stride": 3, "padding": "same", "padding_mode": "reflect"},
        [IMAGE],
        "is not known to be a multiple of 3",
    ),
    ("conv_transpose", {"out": 4, "kernel": 3, "output_padding": 1}, [IMAGE], "`output_padding` is 1, but it must be less than"),
    ("conv_transpose", {"out": 4, "kernel": 1, "padding": 4}, [IMAGE], "`padding` is 4, which leaves nothing of dim 2"),
    ("max_pool", {"kernel": 3, "padding": "same", "ceil_mode": True}, [IMAGE], "`padding` is 'same', so every element is in a window"),
    ("avg_pool", {"kernel": 3, "padding": 2}, [IMAGE], "`padding` is 2, more than half of the kernel's 3"),
    ("adaptive_avg_pool", {"out": 3}, [IMAGE], "`out` is 3, but the size h of float32[b, 3, h, w] is not known to be a multiple of it"),
    ("layer_norm", {}, ["float32[b, t]"], "a normalised dim of float32[b, t] must be fixed"),
    ("layer_norm", {"dims": 4}, [TOKENS], "`dims` is 4, but the input float32[b, t, 8] has 3 dimensions"),
    ("group_norm", {"groups": 2}, [IMAGE], "`groups` is 2, which does not divide the 3 channels"),
    ("layer_scale", {"dim": 3}, [TOKENS], "`dim` is 3, but the input float32[b, t, 8] has 3 dimensions"),
    ("layer_scale", {}, [TOKENS], "the number of channels, dim 1 of float32[b, t, 8], must be fixed"),
    ("local_response_norm", {"size": 4}, [IMAGE], "`size` is 4, but it must be odd"),
    ("embedding", {"count": 9, "dim": 4}, ["float32[b, t]"], "the ids must be int64 or int32, but they are float32[b, t]"),
    ("embedding", {"count": 9, "dim": 4, "dtype": "int32"}, ["int64[b, t]"], "`dtype` is int32, but an embedding is floating point"),
    ("glu", {"dim": 1}, [IMAGE], "dim 1 of float32[b, 3, h, w] is not known to be even"),
    ("interpolate", {}, [IMAGE], "give `size` or `scale`, one of the two"),
    ("interpolate", {"size": [8]}, [IMAGE], "`size` has 1 numbers, but the input float32[b, 3, h, w] has 2 spatial dimensions"),
    ("interpolate", {"scale": 2, "mode": "cubic"}, ["float32[b, 3, t]"], "mode 'cubic' needs an image"),
    ("attention", {}, [HEADS, HEADS, "float32[b, 4, h, 8]"], "dim 2 of k and v must be the same"),
    ("attention", {}, [HEADS, "float32[b, 3, t, 8]", "float32[b, 3, t, 8]"], "q has 4 heads and k has 3, which does not divide them"),
    ("attention", {}, [HEADS, HEADS, HEADS, "bool[b, t]"], "must broadcast to [batch, heads, queries, keys]"),
    ("attention", {}, [HEADS, HEADS, HEADS, "int64[b, 1, 1, t]"], "the mask must be bool or float32, but it is int64[b, 1, 1, t]"),
    ("rotary_embedding", {"dim": 3}, [HEADS], "`dim` is 3, but it must be even and at most 8"),
    ("rotary_embedding", {}, [HEADS, "int64[h]"], "positions must be [t] or [b, t]"),
    ("sinusoidal_embedding", {"dim": 5}, ["int64[t]"], "`dim` is 5, but it must be even"),
    (
        "gru_cell",
        {"hidden": 4},
        ["float32[b, 3]", "float32[b, 5]"],
        "the state h must be float32[b, 4] (`hidden` is 4), but it is float32[b, 5]",
    ),
    ("cosine_similarity", {}, [TOKENS, "float32[b, t, 1]"], "must have the same size along `dim`, -1"),
    ("bilinear", {"out": 2}, ["float32[b, 3]", "float32[t, 3]"], "the same dims but the last"),
    ("grid_sample", {}, [IMAGE, "float32[b, 5, 3]"], "the grid for float32[b, 3, h, w] must be float32[b, *sizes, 2] with 2 sizes"),
]


@pytest.mark.parametrize(("name", "arguments", "inputs", "message"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_refusals_say_what_is_wrong(name: str, arguments: dict[str, object], inputs: list[str], message: str) -> None:
    op = bench.bind(bench.op_class(name), arguments)
    with pytest.raises(OpError) as error:
        op.infer(*map(bench.tensor_type, inputs))
    assert message in str(error.value)


INITIAL = [
    ("linear", {"out": 5}, ["float32[b, 8]"], torch.nn.Linear(8, 5)),
    ("conv", {"out": 4, "kernel": [3, 5], "groups": 2}, ["float32[b, 6, h, w]"], torch.nn.Conv2d(6, 4, (3, 5), groups=2)),
    ("conv_transpose", {"out": 4, "kernel": 3}, [IMAGE], torch.nn.ConvTranspose2d(3, 4, 3)),
    ("bilinear", {"out": 7}, ["float32[b, 3]", "float32[b, 4]"], torch.nn.Bilinear(3, 4, 7)),
    ("embedding", {"count": 50, "dim": 40}, ["int64[b, t]"], torch.nn.Embedding(50, 40)),
    ("gru_cell", {"hidden": 6}, ["float32[b, 3]", "float32[b, 6]"], torch.nn.GRUCell(3, 6)),
    ("lstm_cell", {"hidden": 6}, ["float32[b, 3]", "float32[b, 6]", "float32[b, 6]"], torch.nn.LSTMCell(3, 6)),
    ("batch_norm", {}, [IMAGE], torch.nn.BatchNorm2d(3)),
    ("prelu", {}, [IMAGE], torch.nn.PReLU()),
]


@pytest.mark.parametrize(("name", "arguments", "inputs", "layer"), INITIAL, ids=[row[0] for row in INITIAL])
def test_weights_are_shaped_and_drawn_as_pytorch_does(
    name: str, arguments: dict[str, object], inputs: list[str], layer: torch.nn.Module
) -> None:
    weights = bench.bind(bench.op_class(name), arguments).parameters(*map(bench.tensor_type, inputs))
    theirs = {k: v for k, v in layer.state_dict().items() if k != "num_batches_tracked"}
    assert {k: w.type.shape for k, w in weights.items()} == {k: tuple(v.shape) for k, v in theirs.items()}
    assert {k for k, w in weights.items() if w.trainable} == {k for k, _ in layer.named_parameters()}
    for key, weight in weights.items():
        kind, _, rest = weight.init.partition("(")
        number, values = float(rest.rstrip(")") or 0), theirs[key]
        if kind == "uniform":
            torch.manual_seed(0)
            largest = 0.0
            for _ in range(40):
                layer.reset_parameters()
                largest = max(largest, float(getattr(layer, key).detach().abs().max()))
            assert 0.9 * number < largest <= number
        elif kind == "normal":
            assert abs(float(values.std()) - number) < 0.1
        else:
            assert set(values.flatten().tolist()) == {{"ones": 1.0, "zeros": 0.0, "constant": number}[kind]}


def _builder(dims: dict[str, tuple[Value, int]]) -> Builder:
    counter = itertools.count()
    return Builder(Origin(Span("spec.yaml", 1, 1), "body"), "g", dims, lambda prefix: f"{prefix}_{next(counter)}")


def test_drop_path_drops_whole_samples() -> None:
    op = bench.bind(bench.op_class("drop_path"), {"p": 0.25})
    x = Value("x", bench.tensor_type("float32[b, t, 8]"))
    g = _builder({"b": (x, 0), "t": (x, 1)})
    y = op.per_sample(g, x)  # type: ignore[attr-defined]
    module = LaminaModule(Graph("drop", (x,), (y,), tuple(g.nodes)))
    torch.manual_seed(0)
    result = module.train()(torch.ones(4000, 4, 8))
    assert isinstance(result, torch.Tensor)
    assert (result == result[:, :1, :1]).all()
    values = result[:, 0, 0]
    assert torch.allclose(values.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert abs(float((values == 0).float().mean()) - 0.25) < 0.03
    assert torch.equal(module.eval()(torch.ones(3, 4, 8)), torch.ones(3, 4, 8))


@pytest.mark.parametrize(("kind", "spread", "most"), [("normal", 1.0, 10.0), ("uniform", 3**-0.5, 1.0)])
def test_noise_is_added_in_train_mode_alone(kind: str, spread: float, most: float) -> None:
    op = bench.bind(bench.op_class("noise"), {"kind": kind})
    x = Value("x", bench.tensor_type("float32[b, 8]"))
    g = _builder({"b": (x, 0)})
    module = LaminaModule(Graph("noise", (x,), (op.added(g, x),), tuple(g.nodes)))  # type: ignore[attr-defined]
    torch.manual_seed(0)
    given = torch.full((4000, 8), 5.0)
    added = module.train()(given) - given
    assert abs(float(added.mean())) < 0.02
    assert abs(float(added.std()) - spread) < 0.02
    assert float(added.abs().max()) <= most
    assert torch.equal(module.eval()(given), given)


def test_rotary_embedding_takes_angles_of_another_law() -> None:
    op = bench.bind(bench.op_class("rotary_embedding"), {})
    x, table = Value("x", bench.tensor_type("float32[b, 2, t, 8]")), bench.tensor_type("float32[t, 4]")
    cos, sin = Value("cos", table), Value("sin", table)
    assert op.infer(x.type, None, table, table) == x.type
    g = _builder({})
    y = op.define(g, x, None, cos, sin)
    proto = bench.proto(bench.Model(tuple(g.nodes), (x, cos, sin), (y,)), (x.type,))  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    array, angles = rng.standard_normal((2, 2, 5, 8)).astype(np.float32), rng.standard_normal((5, 4)).astype(np.float32)
    (got,) = bench.session(proto).run(None, {"x": array, "cos": np.cos(angles), "sin": np.sin(angles)})
    turned = (array[..., :4] + 1j * array[..., 4:]) * np.exp(1j * angles)
    np.testing.assert_allclose(got, np.concatenate([turned.real, turned.imag], -1), atol=1e-5)


def _self_attention(kv_heads: int, *, kept: bool = False) -> tuple[Graph, TensorType]:
    """Attention between split and merged heads, 4 of width 3; `kept` also returns the split output."""
    joined, whole = bench.tensor_type("float32[b, t, 12]"), bench.tensor_type("float32[b, 4, t, 3]")
    inputs = [Value(n, TensorType("float32", (*joined.shape[:2], heads * 3))) for n, heads in (("q", 4), ("k", kv_heads), ("v", kv_heads))]
    g = _builder({"b": (inputs[0], 0), "t": (inputs[0], 1)})
    split = []
    for x in inputs:
        apart = TensorType("float32", (*x.shape[:2], x.shape[2] // 3, 3))
        middle = _typed(g, g.reshape(x, apart.shape), apart)
        split.append(_typed(g, g.transpose(middle, 0, 2, 1, 3), apart.with_shape(apart.shape[i] for i in (0, 2, 1, 3))))
    op = bench.bind(bench.op_class("attention"), {"causal": True})
    y = _typed(g, op.operator(g, *split), whole)  # type: ignore[attr-defined]
    back = _typed(g, g.transpose(y, 0, 2, 1, 3), whole.with_shape(whole.shape[i] for i in (0, 2, 1, 3)))
    z = _typed(g, g.reshape(back, joined.shape), joined)
    return Graph("attention", tuple(inputs), (z, y) if kept else (z,), tuple(g.nodes)), joined


def _typed(g: Builder, value: Value, type_: TensorType) -> Value:
    """The value with its type, as values at the borders of ops have it."""
    object.__setattr__(value, "type", type_)
    return value


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_heads_are_joined_and_the_function_stays(kv_heads: int) -> None:
    graph, type_ = _self_attention(kv_heads)
    joined = deduplicate(join_heads(graph))
    assert Counter(n.op_type for n in joined.nodes) == {"Attention": 1}
    rng = np.random.default_rng(0)
    feeds = {v.name: rng.standard_normal((2, 5, int(v.shape[2]))).astype(np.float32) for v in graph.inputs}  # type: ignore[arg-type]
    before, after = (
        bench.session(bench.proto(bench.Model(g.nodes, g.inputs, g.outputs), (type_,))).run(None, feeds) for g in (graph, joined)
    )
    np.testing.assert_allclose(after[0], before[0], atol=1e-5)


def test_heads_that_something_else_reads_stay_apart() -> None:
    graph, _ = _self_attention(4, kept=True)
    assert [n.op_type for n in join_heads(graph).nodes] == [n.op_type for n in graph.nodes]
