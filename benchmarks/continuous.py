"""Texts of several clients written together against one at a time: tokens a second of the server's decoder, interleaved in one run.

    lamina compile llama --variant smollm2-135m --precision int4 -o BUNDLE    # a tokenizer.json beside a copy of the spec
    python -m benchmarks.continuous BUNDLE

Each client asks for a text of 32 tokens behind a prompt of 32 random ones, all at once.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence

import numpy as np

from lamina.runtime import Session
from lamina.runtime.generation.options import Generation
from lamina.runtime.serve.decoder import Decoder
from lamina.runtime.serve.metrics import Metrics
from lamina.runtime.serve.settings import Limits, Settings

PROMPT, TOKENS = 32, 32


def decoder(session: Session, batch: int) -> Decoder:
    settings = Settings(limits=Limits(batch=batch, queue=64))
    found = Decoder.of(session, settings, Metrics().of_texts("model", "1"))
    assert found is not None, "it writes no texts"
    return found


async def client(writer: Decoder, prompt: list[int]) -> int:
    """How many tokens the text behind a prompt has."""
    options = Generation(max_new_tokens=TOKENS, eos=())
    return sum([len(piece.ids) async for piece in writer.pieces(lambda: [prompt], options, time.monotonic() + 600)])


async def rate(writer: Decoder, clients: int, seed: int) -> float:
    """Tokens a second."""
    prompts = np.random.default_rng(seed).integers(100, 10_000, (clients, PROMPT)).tolist()
    began = time.perf_counter()
    made = await asyncio.gather(*(client(writer, prompt) for prompt in prompts))
    return sum(made) / (time.perf_counter() - began)


async def race(session: Session, counts: Sequence[int], rounds: int) -> None:
    together, apart = await asyncio.to_thread(decoder, session, 8), await asyncio.to_thread(decoder, session, 1)
    print(f"texts written together: {together.joining}")
    for writer in (together, apart):
        await rate(writer, 1, seed=0)
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
    for seed in range(rounds):
        for count, pairs in found.items():
            pairs.append((await rate(together, count, seed), await rate(apart, count, seed)))
    for count, pairs in found.items():
        ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratios = sorted(a / b for a, b in pairs)
        print(
            f"{count} clients: {ours:.1f} tokens/s together, {theirs:.1f} one at a time:"
            f" {statistics.median(ratios):.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    for writer in (together, apart):
        await asyncio.to_thread(writer.close)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with Session(given.bundle, threads=given.threads) as session:
        asyncio.run(race(session, given.clients, given.rounds))


if __name__ == "__main__":
    main()
