"""A layer of sparse experts in ONNX Runtime, against com.microsoft.MoE, PyTorch's loop over experts and transformers' export; and ours in
PyTorch against that loop.

    python -m benchmarks.moe [--threads 2] [--rounds 15]

Tokens of 256, experts 256 -> 512 -> 256, four chosen of 8, 32 or 64. Outputs must agree. Peers take turns, so that a busy moment hits all;
a ratio is the median over rounds of a peer's time against ours in the same round. transformers' export takes 14 GB at 2048 tokens.
"""

from __future__ import annotations

import argparse
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
from lamina.runtime.native import library

SPEC = Path(__file__).parent / "specs" / "moe.yaml"
DIM, HIDDEN, CHOSEN = 256, 512, 4
Array = np.ndarray[Any, Any]
Run = Callable[[], Array]


def session(model: str | bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    if (kernels := library()) is not None:
        options.register_custom_ops_library(str(kernels))
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def ours(folder: Path, x: Array, threads: int, experts: int, *, gated: bool = False) -> tuple[Run, Mapping[str, Array]]:
    """Our bundle's run, and the weights in it."""
    spec = lamina.load(SPEC, experts=experts, gated=gated)
    bundle = lamina.compile(spec, folder / f"{experts}-{gated}", ["onnxruntime"])
    made = session(str(bundle / "model.ort.onnx"), threads)
    weights = {name: value.detach().numpy() for name, value in lamina.to_torch(spec).state_dict().items()}
    return lambda: made.run(None, {"x": x})[0], weights


def module(x: Array, experts: int) -> Run:
    """Our PyTorch module."""
    made, tokens = lamina.to_torch(lamina.load(SPEC, experts=experts)), torch.from_numpy(x)

    @torch.inference_mode()
    def run() -> Array:
        return np.asarray(made(tokens))

    return run


def stacked(weights: Mapping[str, Array], part: str) -> Array:
    count = weights["gate.weight"].shape[0]
    return np.stack([weights[f"experts.{e}.{part}.weight"] for e in range(count)])


def contrib(weights: Mapping[str, Array], x: Array, threads: int) -> Run:
    """com.microsoft.MoE, whose gelu is the tanh form."""
    arrays = {"gate": weights["gate.weight"].T.copy(), "up": stacked(weights, "up"), "down": stacked(weights, "down")}
    nodes = [
        helper.make_node("MatMul", ["x", "gate"], ["scores"]),
        helper.make_node(
            "MoE", ["x", "scores", "up", "", "down"], ["y"], domain="com.microsoft",
            k=CHOSEN, activation_type="gelu", normalize_routing_weights=1,
        ),
    ]  # fmt: skip
    given, made = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["T", DIM]) for n in ("x", "y"))
    graph = helper.make_graph(nodes, "moe", [given], [made], [numpy_helper.from_array(a, n) for n, a in arrays.items()])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    found = session(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString(), threads)
    return lambda: found.run(None, {"x": x})[0]


def loop(weights: Mapping[str, Array], x: Array) -> Run:
    """PyTorch over the experts that some token chose, as transformers has it."""
    gate, up, down = (torch.from_numpy(a) for a in (weights["gate.weight"], stacked(weights, "up"), stacked(weights, "down")))
    tokens, F = torch.from_numpy(x), torch.nn.functional

    @torch.inference_mode()
    def run() -> Array:
        weight, choice = torch.topk(torch.softmax(F.linear(tokens, gate), -1), CHOSEN)
        weight = weight / weight.sum(-1, keepdim=True)
        mask = F.one_hot(choice, len(gate)).permute(2, 1, 0)
        total = torch.zeros_like(tokens)
        for expert in (mask.sum((-1, -2)) > 0).nonzero()[:, 0]:
            place, rows = torch.where(mask[expert])
            made = F.linear(F.gelu(F.linear(tokens[rows], up[expert]), approximate="tanh"), down[expert])
            total.index_add_(0, rows, made * weight[rows, place, None])
        return total.numpy()

    return run


def exported(folder: Path, weights: Mapping[str, Array], x: Array, threads: int) -> Run:
    """transformers' Mixtral layer, exported by torch.onnx in the form of it that exports, a product for each choice of each token."""
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    count = len(weights["gate.weight"])
    config = MixtralConfig(hidden_size=DIM, intermediate_size=HIDDEN, num_local_experts=count, num_experts_per_tok=CHOSEN)
    config._experts_implementation = "batched_mm"
    block = MixtralSparseMoeBlock(config).eval()
    state = {"gate.weight": weights["gate.weight"], "experts.gate_up_proj": stacked(weights, "gate_up")}
    state["experts.down_proj"] = stacked(weights, "down")
    block.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    path, tokens = folder / "mixtral.onnx", torch.from_numpy(x)[None]
    torch.onnx.export(block, (tokens,), path, dynamo=True, verbose=False)
    found = session(str(path), threads)
    name = found.get_inputs()[0].name
    return lambda: found.run(None, {name: x[None]})[0][0]


def measured(runs: Mapping[str, Run], rounds: int, *, alike: bool = True) -> dict[str, list[float]]:
    """Milliseconds of each, round by round, after a warm-up in which all must agree that compute the same."""
    first, *others = (run() for run in runs.values())
    for name, other in zip(list(runs)[1:], others, strict=True):
        if alike:
            np.testing.assert_allclose(other, first, atol=2e-4 * np.abs(first).max(), rtol=0, err_msg=name)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(0.02)  # the threads of the one before it have gone to sleep
            awake = time.perf_counter() + 0.05
            while time.perf_counter() < awake:  # and its own are awake: a sleeping core takes three times as long at first
                run()
            start = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - start))
    return times


def shown(title: str, times: Mapping[str, list[float]]) -> None:
    first = next(iter(times.values()))
    cells = [f"{statistics.median(first):.2f}"]
    cells += [f"{name} {statistics.median(b / a for a, b in zip(first, column, strict=True)):.2f}x" for name, column in times.items()][1:]
    print(f"| {title} | {' | '.join(cells)} |", flush=True)


def skewed(weights: Mapping[str, Array], tokens: int) -> Array:
    """Tokens that all choose the same experts: along what the first few rows of the gate have in common."""
    gate = weights["gate.weight"]
    towards = np.linalg.lstsq(gate, np.where(np.arange(len(gate)) < CHOSEN, 30.0, -30.0), rcond=None)[0]
    noise = 0.1 * np.random.default_rng(1).standard_normal((tokens, DIM))
    return (towards + noise).astype(np.float32)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=15)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    print("| tokens, experts | ours, ms | peer / ours |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for tokens in (1, 256, 2048):
            x = np.random.default_rng(0).standard_normal((tokens, DIM)).astype(np.float32)
            run, weights = ours(folder, x, options.threads, 32)
            peers = {"com.microsoft.MoE": contrib(weights, x, options.threads), "PyTorch's loop": loop(weights, x)}
            shown(f"{tokens}, 32", measured({"ours": run, **peers}, options.rounds))
            shown(f"{tokens}, 32, in PyTorch", measured({"ours": module(x, 32), "PyTorch's loop": peers["PyTorch's loop"]}, options.rounds))
            counts = {f"{n} experts": ours(folder, x, options.threads, n)[0] for n in (8, 64)}
            shown(f"{tokens}, 32", measured({"ours": run, **counts}, options.rounds, alike=False))
            one_sided = skewed(weights, tokens)
            skew = ours(folder, one_sided, options.threads, 32)[0]
            shown(f"{tokens}, 32", measured({"ours": run, "all to the same": skew}, options.rounds, alike=False))
            run, weights = ours(folder, x, options.threads, 32, gated=True)
            shown(f"{tokens}, 32, SwiGLU", measured({"ours": run, "transformers": exported(folder, weights, x, options.threads)}, 3))


if __name__ == "__main__":
    main()
