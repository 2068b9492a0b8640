"""What examples cannot say of the ops with state: long sequences, extreme decays, other people's kernels, one step after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import op_harness as bench
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from lamina.compiler.graph import Graph, Parameter, Value
from lamina.compiler.op import Example, paths_for
from lamina.compiler.targets.torch.module import LaminaModule

Array = np.ndarray[Any, Any]
LOWEST = float(np.finfo(np.float32).min)
DECAYS = {
    "none": lambda rng, shape: np.zeros(shape),
    "mild": lambda rng, shape: -0.1 * rng.random(shape),
    "strong": lambda rng, shape: -6 * rng.random(shape),
    "all at once": lambda rng, shape: np.full(shape, -1e4),
    "lowest": lambda rng, shape: np.full(shape, LOWEST),
    "mixed": lambda rng, shape: rng.choice([0.0, -1e-3, -0.5, -30.0, -1e4, LOWEST], shape),
    "rare": lambda rng, shape: np.where(rng.random(shape) < 0.01, LOWEST, -0.01),
}


def random(*shape: int) -> Array:
    return np.random.default_rng(shape).uniform(-1, 1, shape).astype(np.float32)


def case_of(name: str, arguments: dict[str, Any], *arrays: Array | None) -> bench.Case:
    inputs = ["" if a is None else f"{a.dtype}[{', '.join(map(str, a.shape))}]" for a in arrays]
    return bench.case(bench.op_class(name), Example(arguments, inputs))


def first(name: str, target: str, arguments: dict[str, Any], *arrays: Array | None) -> str:
    """The path that a target takes for inputs of these shapes, where our own kernels are missing."""
    case = case_of(name, arguments, *arrays)
    return next(path for path in paths_for(type(case.op), target) if path != "native" and bench.lower(case, path) is not None)


def module_of(name: str, path: str, arguments: dict[str, Any], *arrays: Array | None) -> tuple[LaminaModule, bench.Model]:
    model = bench.lower(case_of(name, arguments, *arrays), path)
    assert model is not None
    values = {v: Value(v.name, v.type) if isinstance(v, Parameter) else v for v in model.inputs}
    nodes = tuple(n.mapped(lambda v: values.get(v, v)) for n in model.nodes)
    module = LaminaModule(Graph("example", tuple(values.values()), model.outputs, nodes), {})  # type: ignore[arg-type]
    return module, model


def run(name: str, path: str, arguments: dict[str, Any], *arrays: Array | None) -> list[Array]:
    """One path of an op, with as many steps as the inputs have, in ONNX Runtime, or in PyTorch where it is not for that."""
    case = case_of(name, arguments, *arrays)
    feeds = {f"x{i}": a for i, a in enumerate(arrays) if a is not None}
    feeds |= {f"weight.{k}": random(*w.type.shape) for k, w in case.weights.items()}
    if path in paths_for(bench.op_class(name), "onnxruntime"):
        model = bench.lower(case, path)
        assert model is not None
        found: list[Array] = bench.session(bench.proto(model, case.outputs)).run(None, feeds)
        return found
    module, model = module_of(name, path, arguments, *arrays)
    return [v.numpy() for v in module(*(torch.from_numpy(feeds[v.name]) for v in model.inputs)).values()]


def heads(steps: int, decay: str, channels: int | None = None) -> list[Array]:
    """q, k, v [2, 3, steps, 8 and 5] and a decay for each head or each of so many channels."""
    rng = np.random.default_rng(steps)
    q, k, v = (rng.standard_normal((2, 3, steps, d)) for d in (8, 8, 5))
    shape = (2, 3, steps) if channels is None else (2, 3, steps, channels)
    return [a.astype(np.float32) for a in (q, k, v, DECAYS[decay](rng, shape))]


@pytest.mark.parametrize("path", ["define", "kernel", "by_chunks", "side_by_side"])
@pytest.mark.parametrize("channels", [None, 8])
@pytest.mark.parametrize(("steps", "decay"), [(200, d) for d in DECAYS] + [(n, "mild") for n in (1, 3, 63, 64, 65, 128)] + [(33, "mixed")])
def test_linear_attention_of_any_decay(path: str, channels: int | None, steps: int, decay: str) -> None:
    arrays = heads(steps, decay, channels)
    state = np.random.default_rng(1).standard_normal((2, 3, 8, 5)).astype(np.float32)
    got = run("linear_attention", path, {}, *arrays, None, state)
    wide = [torch.from_numpy(a.astype(np.float64)) for a in (*arrays, state)]
    want = bench.references()["linear_attention"](*wide[:4], None, wide[4], scale=None)
    bench.close(got, [w.numpy() for w in want], 1e-5, f"{decay}, {steps} steps")


@pytest.mark.parametrize("channels", [None, 8])
@pytest.mark.parametrize("decay", DECAYS)
def test_gradients_of_any_decay_are_numbers(channels: int | None, decay: str) -> None:
    arrays = heads(100, decay, channels)
    module, _ = module_of("linear_attention", "side_by_side", {}, *arrays)
    tensors = [torch.from_numpy(a).requires_grad_() for a in arrays]
    wide = [t.detach().double().requires_grad_() for t in tensors]
    y, state = module(*tensors).values()
    (y.sum() + state.sum()).backward()
    y, state = bench.references()["linear_attention"](*wide, scale=None)
    (y.sum() + state.sum()).backward()
    for got, want in zip(tensors, wide, strict=True):
        assert got.grad is not None
        assert want.grad is not None
        bench.close([got.grad.numpy()], [want.grad.numpy()], 1e-5, decay)


@pytest.mark.parametrize("decay", DECAYS)
def test_delta_rule_of_any_decay(decay: str) -> None:
    """Keys are of length one, as the rule wants them; some are equal."""
    q, k, v, rates = heads(200, decay)
    k = k[:, :, np.arange(200) // 3]
    k, beta = k / np.linalg.norm(k, axis=-1, keepdims=True), np.random.default_rng(2).random((2, 3, 200)).astype(np.float32)
    arrays = (q, k, v, rates, beta)
    module, _ = module_of("linear_attention", "delta_side_by_side", {}, *arrays)
    tensors = [torch.from_numpy(a).requires_grad_() for a in arrays]
    wide = [t.detach().double().requires_grad_() for t in tensors]
    got, want = list(module(*tensors).values()), bench.references()["linear_attention"](*wide, scale=None)
    bench.close([t.detach().numpy() for t in got], [t.detach().numpy() for t in want], 1e-5, decay)
    sum(t.sum() for t in got).backward()
    sum(t.sum() for t in want).backward()
    for a, b in zip(tensors, wide, strict=True):
        assert a.grad is not None
        assert b.grad is not None
        bench.close([a.grad.numpy()], [b.grad.numpy()], 1e-5, decay)


@pytest.mark.parametrize("beta", [False, True])
@pytest.mark.parametrize("decay", [None, 1, 8])
def test_linear_attention_is_that_of_onnx(decay: int | None, beta: bool) -> None:
    """LinearAttention of opset 27, as onnx's own evaluator has it: four rules, heads packed into rows."""
    q, k, v, rates = heads(20, "strong", decay or 8)
    k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    update = np.random.default_rng(2).random((2, 3, 20)).astype(np.float32)
    state = np.random.default_rng(3).standard_normal((2, 3, 8, 5)).astype(np.float32)
    rule = {(False, False): "linear", (True, False): "gated", (False, True): "delta", (True, True): "gated_delta"}[decay is not None, beta]
    packed = {
        name: a.transpose(0, 2, 1, 3).reshape(2, 20, -1) for name, a in zip("qkvgb", (q, k, v, rates, update[..., None]), strict=True)
    }
    names = ["q", "k", "v", "s", "g" if decay else "", "b" if beta else ""]
    node = onnx.helper.make_node("LinearAttention", names, ["y", "last"], q_num_heads=3, kv_num_heads=3, update_rule=rule)
    given = {name: a for name, a in {**packed, "s": state}.items() if name in names}
    infos = [onnx.helper.make_tensor_value_info(n, 1, a.shape) for n, a in given.items()]
    results = [onnx.helper.make_tensor_value_info(n, 1, None) for n in ("y", "last")]
    graph = onnx.helper.make_graph([node], "g", infos, results)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 27)])
    y, last = ReferenceEvaluator(model).run(None, given)
    arrays = (q, k, v, rates if decay else None, update if beta else None, state)
    paths = ["define", "kernel", *(["delta_side_by_side"] if beta and decay in (None, 1) else [])]
    for path in paths:
        got = run("linear_attention", path, {}, *arrays)
        bench.close(got, [y.reshape(2, 20, 3, 5).transpose(0, 2, 1, 3), last], 1e-5, path)


def ssd(x: torch.Tensor, dt: torch.Tensor, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """Mamba-2 as its authors' selective_state_update steps through it: x [N, T, H, P], dt [N, T, H], a [H], b and c [N, T, G, S]."""
    b, c = (m.repeat_interleave(x.shape[2] // m.shape[2], 2) for m in (b, c))
    state, found = x.new_zeros(x.shape[0], *x.shape[2:], b.shape[3]), []
    for t in range(x.shape[1]):
        kept = torch.exp(dt[:, t] * a)
        added = torch.einsum("nh,nhs,nhp->nhps", dt[:, t], b[:, t], x[:, t])
        state = state * kept[..., None, None] + added
        found.append(torch.einsum("nhps,nhs->nhp", state, c[:, t]))
    return torch.stack(found, 1)


def test_linear_attention_is_ssd() -> None:
    """Mamba-2 needs no op: q is c, k is b (each group's for all of its heads), v is dt * x, and the decay of a head is dt * a."""
    rng = np.random.default_rng(0)
    x, b, c = (torch.from_numpy(rng.standard_normal(s)) for s in ((2, 70, 4, 6), (2, 70, 2, 8), (2, 70, 2, 8)))
    dt, a = torch.from_numpy(rng.random((2, 70, 4))), -torch.from_numpy(rng.uniform(1, 16, 4))
    q, k = (m.repeat_interleave(2, 2).transpose(1, 2) for m in (c, b))
    arrays = (t.float().contiguous().numpy() for t in (q, k, (dt[..., None] * x).transpose(1, 2), (dt * a).transpose(1, 2)))
    given = list(arrays)
    for path in ("define", "kernel", "by_chunks", "side_by_side"):
        y, _ = run("linear_attention", path, {"scale": 1.0}, *given)
        bench.close([y], [ssd(x, dt, a, b, c).transpose(1, 2).numpy()], 1e-5, path)


STEPS = 70
STEPPED: dict[str, tuple[dict[str, Any], list[Array | None], tuple[int, ...], int]] = {
    # op: arguments, inputs, the shape of the state, and the axis of time
    "linear_attention": ({}, [*(random(2, 3, STEPS, d) for d in (8, 8, 5)), -abs(random(2, 3, STEPS)), None], (2, 3, 8, 5), 2),
    "causal_conv1d": ({"kernel": 4}, [random(2, 6, STEPS)], (2, 6, 3), 2),
    "linear_recurrence": ({}, [random(2, STEPS, 6), random(2, STEPS, 6)], (2, 6), 1),
}


@pytest.mark.parametrize("target", ["onnxruntime", "module"])
@pytest.mark.parametrize("name", STEPPED)
def test_parts_of_a_sequence_are_the_sequence(name: str, target: str) -> None:
    """The state carries everything: single steps, and a part with a length of its own, give what the whole sequence gives."""
    arguments, inputs, state, axis = STEPPED[name]
    whole = run(name, first(name, target, arguments, *inputs, np.zeros(state, np.float32)), arguments, *inputs, np.zeros(state, np.float32))
    last, found = np.zeros(state, np.float32), []
    for begin, end in [(i, i + 1) for i in range(5)] + [(5, STEPS)]:
        part = [a if a is None else np.ascontiguousarray(a.take(range(begin, end), axis)) for a in inputs]
        y, last = run(name, first(name, target, arguments, *part, last), arguments, *part, last)
        found.append(y)
    bench.close([np.concatenate(found, axis), last], whole, 1e-5, name)


@pytest.mark.parametrize("target", ["onnxruntime", "module"])
def test_parts_of_a_selective_scan(target: str) -> None:
    u, delta, b, c = (random(2, STEPS, 6), abs(random(2, STEPS, 6)), random(2, STEPS, 4), random(2, STEPS, 4))
    a, last, found = -abs(random(6, 4)), np.zeros((2, 6, 4), np.float32), []
    whole = run("selective_scan", "define", {}, u, delta, a, b, c, last)
    for begin, end in [(0, 1), (1, 2), (2, STEPS)]:
        parts = [np.ascontiguousarray(x[:, begin:end]) for x in (u, delta, b, c)]
        given = (*parts[:2], a, *parts[2:], last)
        y, last = run("selective_scan", first("selective_scan", target, {}, *given), {}, *given)
        found.append(y)
    bench.close([np.concatenate(found, 1), last], whole, 1e-5, target)


@pytest.mark.parametrize("target", ["onnxruntime", "module"])
@pytest.mark.parametrize("gates", [0.0, 1e-30, 1.0])
def test_linear_recurrence_of_any_gate(gates: float, target: str) -> None:
    a, b = np.full((2, 200, 6), gates, np.float32), random(2, 200, 6)
    path = first("linear_recurrence", target, {}, a, b)
    assert path in ("narrow", "side_by_side")
    want = bench.references()["linear_recurrence"](*(torch.from_numpy(x.astype(np.float64)) for x in (a, b)))
    bench.close(run("linear_recurrence", path, {}, a, b), [w.numpy() for w in want], 1e-5, f"gates of {gates}")


@pytest.mark.parametrize(
    ("path", "name", "arguments", "shapes"),
    [
        ("kernel", "linear_attention", {}, [(1, 4, 4096, 64)] * 4),
        ("by_chunks", "linear_attention", {}, [(1, 4, 4096, 128)] * 4),
        ("kernel", "linear_attention", {}, [(1, 4, 64, 128)] * 4),
        ("kernel", "linear_attention", {}, [(1, 4, 1, 64)] * 4),
        ("define", "causal_conv1d", {"kernel": 4}, [(1, 8, 64)]),
        ("kernel_with_state", "causal_conv1d", {"kernel": 4}, [(1, 8, 1)]),
        ("narrow", "linear_recurrence", {}, [(1, 1024, 512)] * 2),
        ("define", "linear_recurrence", {}, [(1, 1024, 2048)] * 2),
    ],
)
def test_onnx_runtime_takes_what_is_fastest(path: str, name: str, arguments: dict[str, Any], shapes: list[tuple[int, ...]]) -> None:
    """The rule that `python -m benchmarks.op_forms` measures."""
    assert first(name, "onnxruntime", arguments, *(np.zeros(s, np.float32) for s in shapes)) == path
