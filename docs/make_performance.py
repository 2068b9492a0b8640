"""Write docs/performance.md and its plot from what `python -m benchmarks.suite` measured. Needs matplotlib."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.suite.race import OURS  # noqa: E402
from benchmarks.suite.results import best_peer, milliseconds, ratio, ratios  # noqa: E402

PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"
FOUND = ROOT / "benchmarks" / "results" / "cpu.json"
DENSE = ("vision", "text")
HEAD = """# Performance

`make bench` races our bundles, in ONNX Runtime on a CPU, against what others make of the same network with the same weights, in single
precision, and writes this page. Each peer has a process of its own and they take turns; a ratio is the median over rounds of the peer's
time against ours in the same round, with the 10th and 90th percentile: above 1, ours is faster. All outputs agree within 1e-3 of the
largest magnitude, else a peer is left out. Absolute times are the machine's: {machine}.

Where a package has the network, peers run that one ({theirs} models); else (marked \\*) what PyTorch makes of our own module.
`python -m benchmarks.suite.compare BEFORE.json AFTER.json` says what has become slower by more than 5% between two runs.
"""


def page() -> str:
    """The whole page."""
    found = json.loads(FOUND.read_text(encoding="utf-8"))
    models: dict[str, Any] = found["models"]
    machine = ", ".join(f"{what} {value}" for what, value in found["machine"].items())
    head = HEAD.format(machine=machine, theirs=sum(m["theirs"] for m in models.values()))
    return "\n".join([head, *_summary(models), *_latencies(models), *_costs(models)]) + "\n"


def _summary(models: Mapping[str, Any]) -> Iterator[str]:
    yield "## The best peer's time against ours\n"
    yield "| | models | geometric mean | least |\n|---|---|---|---|"
    families = list(dict.fromkeys(m["family"] for m in models.values()))
    groups = {"all": families, "dense: " + ", ".join(f for f in families if f in DENSE): DENSE, **{f: (f,) for f in families}}
    for title, members in groups.items():
        held = {name: m for name, m in models.items() if m["family"] in members}
        if values := ratios(held):
            name, batch = min(values, key=lambda key: values[key])
            least = f"{values[name, batch]:.2f}x ({name}, batch {batch})"
            yield f"| {title} | {len(held)} | {statistics.geometric_mean(values.values()):.2f}x | {least} |"
    yield "\n![The best peer's time against ours, by model](performance/ratios.svg)\n"


def _latencies(models: Mapping[str, Any]) -> Iterator[str]:
    peers = list(dict.fromkeys(p for m in models.values() for b in m["batches"].values() for p in b if p != OURS))
    yield "## Latency\n"
    yield f"| model | batch | ours, ms | {' | '.join(peers)} |\n|---|---|---|{'---|' * len(peers)}"
    for name, model in models.items():
        for batch, times in model["batches"].items():
            cells = [_cell(times, peer) for peer in peers]
            star = "" if model["theirs"] else " \\*"
            yield f"| {name}{star} | {batch} | {milliseconds(times, OURS):.2f} | {' | '.join(cells)} |"
    yield ""
    reasons = {(peer, _reason(t[peer])) for m in models.values() for t in m["batches"].values() for peer in t if "failed" in t[peer]}
    if reasons:
        yield "A dash is a model that the peer cannot do:\n"
        yield from (f"* {peer}: {reason}" for peer, reason in sorted(reasons))
        yield ""


def _cell(times: Mapping[str, Any], peer: str) -> str:
    if "seconds" not in times.get(peer, {}):
        return "-"
    low, middle, high = ratio(times, peer)
    text = f"{middle:.2f}x ({low:.2f} to {high:.2f})"
    return f"**{text}**" if peer == best_peer(times) else text


def _reason(found: Mapping[str, Any]) -> str:
    return str(found["failed"]).replace("|", "\\|").replace("<", "&lt;")


def _costs(models: Mapping[str, Any]) -> Iterator[str]:
    yield "## What else it costs, at batch 1\n"
    yield "Compiling is from the spec, or the network in memory, to a file; loading goes on to the first output, imports not counted.\n"
    yield "| model | | compile, s | load, s | most memory, MB | file, MB | items a second, batch 8 |\n|---|---|---|---|---|---|---|"
    for name, model in models.items():
        first, last = (model["batches"][key] for key in (min(model["batches"], key=int), max(model["batches"], key=int)))
        for peer, found in first.items():
            if "seconds" in found:
                rate = f"{8000 / milliseconds(last, peer):.0f}" if "seconds" in last.get(peer, {}) else "-"
                cells = (
                    f"{found['compile_s']:.1f} | {found['load_s']:.2f} | {found['peak'] / 1e6:.0f} | {found['bytes'] / 1e6:.1f} | {rate}"
                )
                yield f"| {name if peer == OURS else ''} | {peer} | {cells} |"
    yield ""


def plot() -> None:
    """A bar for each model and batch: the best peer's time over ours."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lamina"
    models = json.loads(FOUND.read_text(encoding="utf-8"))["models"]
    values = ratios(models)
    names = list(dict.fromkeys(name for name, _ in values))
    batches = sorted({batch for _, batch in values}, key=int)
    figure, axes = plt.subplots(figsize=(8, 0.32 * len(names) + 1))
    for i, batch in enumerate(batches):
        heights = [values.get((name, batch), float("nan")) for name in names]
        axes.barh([j + 0.4 * i for j in range(len(names))], heights, 0.38, label=f"batch {batch}")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_yticks([j + 0.2 for j in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xlabel("the best peer's time / ours (log scale; right of the line ours is faster)")
    axes.legend()
    figure.tight_layout()
    PLOTS.mkdir(exist_ok=True)
    figure.savefig(PLOTS / "ratios.svg", metadata={"Date": None})


if __name__ == "__main__":
    plot()
    PAGE.write_text(page(), encoding="utf-8")
