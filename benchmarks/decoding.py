"""A language model's prompt and steps against llama.cpp and onnxruntime-genai, interleaved in one run.

    python -m benchmarks.decoding BUNDLE FILE.gguf --llama-cpp /tmp/llama/bin/python --genai /tmp/genai/bin/python FOLDER

The peers are in environments of their own (`pip install llama-cpp-python`; `pip install onnxruntime-genai`); FOLDER is a model that
genai's builder made. Each engine is one process, which is asked for a prompt of 128 tokens and 64 greedy tokens in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

THREADS, PROMPT, TOKENS = 2, 128, 64
Times = tuple[float, list[float]]  # seconds of the prompt, and of each token


def ours(bundle: str) -> Callable[[list[int]], Times]:
    from lamina.runtime import Session
    from lamina.runtime.generation.session_steps import steps_of

    steps = steps_of(Session(bundle, threads=THREADS))

    def run(ids: list[int]) -> Times:
        prompt = np.array([ids])
        return timed(lambda: steps.start(prompt, np.ones_like(prompt)).argmax(1), lambda last: steps.step(last).argmax(1))

    return run


def llama_cpp(file: str) -> Callable[[list[int]], Times]:
    from llama_cpp import Llama

    model = Llama(file, n_ctx=1024, n_threads=THREADS, n_threads_batch=THREADS, verbose=False)

    def read(ids: Sequence[int]) -> int:
        model.eval(list(ids))
        return int(np.argmax(np.ctypeslib.as_array(model._ctx.get_logits(), (model.n_vocab(),))))

    def run(ids: list[int]) -> Times:
        model.reset()
        return timed(lambda: read(ids), lambda last: read([last]))

    return run


def genai(folder: str) -> Callable[[list[int]], Times]:
    import onnxruntime_genai

    config = onnxruntime_genai.Config(folder)
    model = onnxruntime_genai.Model(config)

    def run(ids: list[int]) -> Times:
        options = onnxruntime_genai.GeneratorParams(model)
        options.set_search_options(max_length=len(ids) + TOKENS + 2, min_length=len(ids) + TOKENS + 2, do_sample=False)
        generator = onnxruntime_genai.Generator(model, options)

        def first() -> None:
            generator.append_tokens(ids)
            generator.generate_next_token()

        return timed(first, lambda last: generator.generate_next_token())

    return run


ENGINES = {"lamina": ours, "llama.cpp": llama_cpp, "genai": genai}


def timed(first: Callable[[], Any], step: Callable[[Any], Any]) -> Times:
    start = time.perf_counter()
    last = first()
    prompt, steps = time.perf_counter() - start, []
    for _ in range(TOKENS):
        start = time.perf_counter()
        last = step(last)
        steps.append(time.perf_counter() - start)
    return prompt, steps


def serve(engine: str, model: str) -> None:
    """Answer each line of tokens with its times."""
    run = ENGINES[engine](model)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


def race(commands: dict[str, list[str]], rounds: int) -> dict[str, list[Times]]:
    """The times of each engine, taken in turns after two rounds of warm-up."""
    processes = {
        name: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for name, command in commands.items()
    }
    found: dict[str, list[Times]] = {name: [] for name in processes}
    for ids in prompts(rounds + 2):
        for name, process in processes.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(ids) + "\n")
            process.stdin.flush()
            found[name].append(tuple(json.loads(process.stdout.readline())))  # type: ignore[arg-type]
    for process in processes.values():
        process.kill()
    return {name: times[2:] for name, times in found.items()}


def prompts(count: int) -> Iterator[list[int]]:
    rng = np.random.default_rng(0)
    return (rng.integers(100, 10_000, PROMPT).tolist() for _ in range(count))


def report(found: dict[str, list[Times]]) -> None:
    """Medians, and ratios of ours to each peer within a round."""
    for name, times in found.items():
        prompt, step = statistics.median(t[0] for t in times), statistics.median(s for t in times for s in t[1])
        print(f"{name:10s} prompt {PROMPT / prompt:7.0f} tokens/s   steps {1 / step:7.1f} tokens/s")
    for name in found.keys() - {"lamina"}:
        pairs = list(zip(found["lamina"], found[name], strict=True))
        prompt = statistics.median(b[0] / a[0] for a, b in pairs)
        step = statistics.median(statistics.median(b[1]) / statistics.median(a[1]) for a, b in pairs)
        print(f"against {name}: prompt {prompt:.2f}x, steps {step:.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("file", help="the GGUF file that it was compiled from")
    parser.add_argument("--llama-cpp", metavar="PYTHON")
    parser.add_argument("--genai", nargs=2, metavar=("PYTHON", "FOLDER"))
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    script = str(Path(__file__))
    commands = {"lamina": [sys.executable, script, "--serve", "lamina", given.bundle]}
    if given.llama_cpp:
        commands["llama.cpp"] = [given.llama_cpp, script, "--serve", "llama.cpp", given.file]
    if given.genai:
        commands["genai"] = [given.genai[0], script, "--serve", "genai", given.genai[1]]
    report(race(commands, given.rounds))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], sys.argv[3])
    else:
        main()
