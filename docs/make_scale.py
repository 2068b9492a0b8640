"""Write docs/scale.md and its plot from what benchmarks/scale.py, streaming.py and startup.py measured. Needs matplotlib.

python -m benchmarks.scale --json benchmarks/results/scale.json
python -m benchmarks.streaming --seconds 200 --json benchmarks/results/streaming.json
python -m benchmarks.startup --json benchmarks/results/startup.json
python docs/make_scale.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.scale import LAYERS  # noqa: E402

PAGE = ROOT / "docs" / "scale.md"
PLOTS = ROOT / "docs" / "scale"
FOUND = ROOT / "benchmarks" / "results"
MIB = 2**20
HEAD = """# Scale and start-up

What compiling costs as models grow, and what it takes to start. This page is written by `docs/make_scale.py`, which says how each part
is measured.
"""


def page() -> str:
    """The whole page."""
    scale, streaming, startup = (_read(name) for name in ("scale", "streaming", "startup"))
    return "\n".join([HEAD, *_scale(scale), *_streaming(streaming), *_startup(startup)]) + "\n"


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOUND / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _machine(found: Mapping[str, Any]) -> str:
    return f"Measured on {', '.join(f'{what} {value}' for what, value in found['machine'].items())}."


def _scale(found: Mapping[str, Any]) -> Iterator[str]:
    points = found["points"]
    deep, wide = points[: len(LAYERS)], points[len(LAYERS) :]
    yield "## Depth and parameters\n"
    what = "A decoder compiled to ONNX without weights: the processor's seconds, and memory beyond what a process takes that only imports."
    yield f"{what} {_machine(found)}\n"
    yield "![Time and memory by layers, and by parameters](scale/scale.svg)\n"
    yield "| layers | parameters | seconds | ms a layer | MiB |\n|---|---|---|---|---|"
    for point in (*deep, *wide):
        each = 1e3 * point["seconds"] / point["layers"]
        yield f"| {point['layers']:,} | {point['parameters']:.1e} | {point['seconds']:.2f} | {each:.2f} | {point['peak'] / MIB:.0f} |"
    yield ""


def _streaming(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## Weights that fit on no disk\n"
    yield f"{found['model']}, {found['parameters'] / 1e9:.0f} billion parameters. {_machine(found)}\n"
    yield f"* Compiled with `--weights none`: {found['none_seconds']:.1f} s, {found['none_peak'] / MIB:.0f} MiB."
    rate = found["written"] / found["seconds"] / 1e6
    share = f"{found['written'] / 1e9:.0f} of its {found['bytes'] / 1e9:.0f} GB of weights"
    yield f"* {share} drawn, hashed, counted and kept nowhere: {found['seconds']:.0f} s, {rate:.0f} MB/s, {found['peak'] / MIB:.0f} MiB.\n"


def _startup(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## Start-up\n"
    yield "Whole processes, medians. A bare session opens the same file in ONNX Runtime with our kernels, and checks nothing.\n"
    yield f"{_machine(found)}\n"
    yield "| | | bound |\n|---|---|---|"
    for one in found["found"]:
        bound = "" if one["bound"] is None else f"{one['bound']:.2f}{one['unit']}"
        met = "" if one["bound"] is None or one["value"] <= one["bound"] else ", **not met**"
        yield f"| {one['what']} | {one['value']:.2f}{one['unit']} | {bound}{met} |"


def plot() -> None:
    """Seconds and memory over layers, and over parameters, all in powers of ten."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "lamina"
    mpl.rcParams["svg.fonttype"] = "none"
    points = _read("scale")["points"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
    _draw(left, points[: len(LAYERS)], "layers")
    _draw(right, points[len(LAYERS) :], "parameters")
    left.legend()
    figure.tight_layout()
    PLOTS.mkdir(exist_ok=True)
    figure.savefig(PLOTS / "scale.svg", metadata={"Date": None})


def _draw(axes: Any, points: Sequence[Mapping[str, Any]], over: str) -> None:
    x = [point[over] for point in points]
    axes.loglog(x, [point["seconds"] for point in points], marker="o", label="seconds")
    axes.loglog(x, [point["peak"] / MIB for point in points], marker="s", label="MiB")
    axes.set_xlabel(over)
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    plot()
    PAGE.write_text(page(), encoding="utf-8")
