"""Ten adapters over one decoder of SmolLM2-135M's size: what choosing another one takes, and what adapters cost a step.

    python -m benchmarks.adapters [--threads 2] [--rounds 5]

Weights are drawn. Adapters have rank 16, beside all seven linear layers of each of the 30 layers. The reference is the same decoder
compiled with the adapter's products added to its weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import lamina
from lamina.runtime import Session

SPEC = Path(__file__).parent.parent / "specs" / "language" / "llama.yaml"
RANK, ALPHA, COUNT, STEPS = 16, 32, 10, 12
Array = np.ndarray[Any, Any]


def adapter(folder: Path, weights: dict[str, Array], seed: int) -> dict[str, Array]:
    """A folder as PEFT saves it; what it adds to each weight."""
    rng, tensors, added = np.random.default_rng(seed), {}, {}
    for name, weight in weights.items():
        if "_proj" in name:
            a, b = (rng.standard_normal(shape).astype(np.float32) / 50 for shape in ((RANK, weight.shape[1]), (weight.shape[0], RANK)))
            module = f"base_model.model.{name.removesuffix('.weight')}"
            tensors |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
            added[name] = ALPHA / RANK * (b @ a)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": ALPHA}))
    return added


def milliseconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - start)


def step(session: Session) -> float:
    """Of the fastest of a few steps after a prompt."""
    stream = session.stream()
    times = []
    for seen in range(1, STEPS):
        inputs = {"input_ids": np.array([[7]]), "attention_mask": np.ones((1, seen), np.int64)}
        times.append(milliseconds(lambda inputs=inputs: stream(**inputs)))  # type: ignore[misc]
    return min(times)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    spec = lamina.load(SPEC, variant="smollm2-135m").model_copy(update={"tokenizer": None})
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        weights = {k: v.detach().numpy() for k, v in lamina.to_torch(spec).state_dict().items()}
        save_file(weights, folder / "base.safetensors")
        added = [adapter(folder / f"a{n}", weights, n) for n in range(COUNT)]
        adapters = {f"a{n}": folder / f"a{n}" for n in range(COUNT)}
        bundle = lamina.compile(spec, folder / "adapted", ["onnxruntime"], folder / "base.safetensors", adapters=adapters)
        plain = lamina.compile(spec, folder / "plain", ["onnxruntime"], folder / "base.safetensors")
        save_file({k: v + 0.5 * added[0].get(k, 0) + 0.25 * added[1].get(k, 0) for k, v in weights.items()}, folder / "merged.safetensors")
        merged = lamina.compile(spec, folder / "merged", ["onnxruntime"], folder / "merged.safetensors")
        _report(bundle, plain, merged, options.threads, options.rounds)


def _report(bundle: Path, plain: Path, merged: Path, threads: int, rounds: int) -> None:
    with Session(bundle, threads=threads) as session:
        first = [milliseconds(lambda n=n: session.set_adapter(f"a{n}")) for n in range(COUNT)]  # type: ignore[misc]
        again = [milliseconds(lambda n=n: session.set_adapter(f"a{n}")) for _ in range(9) for n in range(COUNT)]  # type: ignore[misc]
        print(f"the first switch to each takes at most {max(first):.2f} ms,", end=" ")
        print(f"later ones {statistics.median(again):.4f}, at most {max(again):.4f} ms")
        mixture = {"a0": 0.5, "a1": 0.25}
        print(f"a mixture of two: {milliseconds(lambda: session.set_adapter(mixture)):.1f} ms, then", end=" ")
        print(f"{milliseconds(lambda: session.set_adapter(mixture)):.4f} ms")
        inputs = {"input_ids": np.arange(1, 9)[None], "attention_mask": np.ones((1, 8), np.int64)}
        got = session(**inputs)["logits"]
        with Session(merged, threads=threads) as reference:
            want = reference(**inputs)["logits"]
        print(f"against merged weights: error {np.abs(got - want).max() / np.abs(want).max():.1e} of the largest magnitude")
        with Session(plain, threads=threads) as base:
            times: dict[str, list[float]] = {"plain": [], "none": [], "a0": []}
            for _ in range(rounds):
                for name, column in times.items():
                    if name != "plain":
                        session.set_adapter(None if name == "none" else name)
                    time.sleep(0.02)
                    column.append(step(base if name == "plain" else session))
    ratios = {n: statistics.median(b / a for a, b in zip(times["plain"], column, strict=True)) for n, column in times.items()}
    print(f"a step {statistics.median(times['plain']):.1f} ms; with none of ten {ratios['none']:.2f}x, with one {ratios['a0']:.2f}x")


if __name__ == "__main__":
    main()
