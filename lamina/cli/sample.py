"""lamina sample"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lamina.cli._options import At, Backend, Bundle

if TYPE_CHECKING:
    from lamina.runtime.dtypes import Array
    from lamina.runtime.manifest import Manifest
    from lamina.runtime.sampling.sample import Step

Given = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", help="What the model is given beside the noisy sample and the time (repeatable).", metavar="NAME=VALUE"),
]
Without = Annotated[
    list[str] | None,
    typer.Option(help="What it is given instead where there is no condition, for --guidance (repeatable).", metavar="NAME=VALUE"),
]


def command(
    bundle: Bundle,
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the samples: .npz, .npy or .json.")],
    input: Given = None,
    without: Without = None,
    noise: Annotated[Path | None, typer.Option(help="A .npy file to start from; drawn unless given.")] = None,
    at: At = None,
    method: Annotated[Literal["ddpm", "ddim", "flow"] | None, typer.Option(help="How to sample.  [default: ddim]")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps to take.  [default: 50]")] = None,
    guidance: Annotated[float | None, typer.Option(help="Above 1, more of the condition than the model would have.")] = None,
    guided_channels: Annotated[int | None, typer.Option(help="Guide the first K channels alone.")] = None,
    schedule: Annotated[Literal["linear", "cosine"] | None, typer.Option(help="Of the diffusion.  [default: linear]")] = None,
    train_steps: Annotated[int | None, typer.Option(help="Steps of the diffusion that was trained.  [default: 1000]")] = None,
    predicts: Annotated[Literal["noise", "sample", "v"] | None, typer.Option(help="What the model gives.  [default: noise]")] = None,
    variance: Annotated[Literal["small", "large"] | None, typer.Option(help="Of ddpm, unless the model gives one.")] = None,
    clip: Annotated[float | None, typer.Option(help="The largest magnitude of the sample in view.")] = None,
    eta: Annotated[float | None, typer.Option(help="How much of ddim's noise is drawn anew, 0 to 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="For the same draws each time.")] = None,
    backend: Backend = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads of the backend.", min=1)] = None,
) -> None:
    """Sample from a bundle of a denoiser: from noise, step by step, by diffusion or by a rectified flow."""
    given = {
        "method": method, "steps": steps, "guidance": guidance, "guided_channels": guided_channels, "schedule": schedule,
        "train_steps": train_steps, "predicts": predicts, "variance": variance, "clip": clip, "eta": eta, "seed": seed,
    }  # fmt: skip
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    from lamina.cli._options import sizes
    from lamina.runtime import Session, sample_stream
    from lamina.runtime.run import save_outputs

    with Session(bundle, backend=backend, threads=threads) as session:
        inputs, free = (_read(items, session.manifest, name) for items, name in ((input, "--input"), (without, "--without")))
        samples = _shown(sample_stream(session, inputs, free, _noise(noise), sizes(at), **options))
    save_outputs({"samples": samples}, output)


def _read(items: list[str] | None, manifest: Manifest, option: str) -> dict[str, Array]:
    from lamina.cli._options import pairs
    from lamina.runtime.errors import InputError
    from lamina.runtime.inputs import read_input

    given, declared = pairs(items or [], option), {spec.name: spec for spec in manifest.inputs}
    for name in given.keys() - declared.keys():
        raise InputError(f"`{name}` is not an input; the inputs are {', '.join(declared)}")
    return {name: read_input(value, declared[name], manifest) for name, value in given.items()}


def _noise(path: Path | None) -> Array | None:
    import numpy as np

    from lamina.runtime.errors import InputError

    if path is None:
        return None
    try:
        return np.load(path, allow_pickle=False)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an array: {error}") from error


def _shown(steps: Iterable[Step]) -> Array:
    """The last samples, with each step told as it comes, and the time of all at the end."""
    import time

    from lamina.cli._progress import progress

    began = time.perf_counter()
    with progress() as show:
        for step in steps:
            show(f"step {step.number} of {step.of}")
    seconds = time.perf_counter() - began
    print(f"{len(step.samples)} samples by {step.of} steps in {seconds:.2f} s", file=sys.stderr)
    return step.samples
