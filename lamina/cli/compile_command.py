"""lamina compile"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from lamina.cli._options import At, Set, Spec, Variant, read, sizes
from lamina.cli._progress import progress

if TYPE_CHECKING:
    from lamina.runtime.tuning import Tuning
    from lamina.schema.dims import Precision


def command(
    spec: Spec,
    out: Annotated[Path, typer.Option("-o", "--out", help="The bundle folder to write; an older bundle there is replaced.")],
    target: Annotated[
        list[str] | None, typer.Option(help="onnx, onnxruntime, tensorrt or torch (repeatable, or separated by commas).")
    ] = None,
    variant: Variant = None,
    set_: Set = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="A checkpoint: a .safetensors, .gguf or PyTorch file, or a folder (repeatable, where each holds some); or `none`."
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="Of layers, where the spec does not say it: float32; int8, int4, int8-dynamic or int8-static in the onnxruntime target; "
            "float16 or bfloat16 in a TensorRT engine. What a checkpoint holds in blocks stays so."
        ),
    ] = "float32",
    calibration: Annotated[
        list[str] | None,
        typer.Option(
            help="Your own inputs, from which int8-static takes ranges: a .npz, a .txt, images, a folder of these, NAME=VALUE, or the "
            "ranges.json of another bundle (repeatable).",
            metavar="PATH",
        ),
    ] = None,
    method: Annotated[
        Literal["minmax", "percentile", "entropy"], typer.Option("--calibration-method", help="How ranges are taken from the inputs.")
    ] = "minmax",
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="A folder that PEFT saved, diffusers' file, or NAME=PATH: a LoRA adapter to choose when it runs (repeatable)."),
    ] = None,
    seed: Annotated[int, typer.Option(help="For random weights, where no checkpoint is given.")] = 0,
    sm: Annotated[
        list[str] | None,
        typer.Option(
            help="Compute capabilities of GPUs, such as 86,89,120: a TensorRT engine is built for each, and runs nowhere else.",
            metavar="86,89,...",
        ),
    ] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Measure on this machine what runs fastest in the target onnxruntime, and record it.")
    ] = False,
    at: At = None,
) -> None:
    """Compile a spec to a bundle.

    A folder with ONNX files over one weight file, a TensorRT engine, a PyTorch program, and a manifest of them all. With --tune,
    alternatives are measured at the sizes of --at, one by one, and what is faster beyond the spread is kept.
    """
    from lamina.compiler.compile import PRECISIONS, TARGETS, compile
    from lamina.compiler.precision import target_of

    targets = [t for item in target or ["onnx,onnxruntime"] for t in item.split(",")]
    for name in targets:
        if name not in TARGETS:
            raise typer.BadParameter(f"`{name}` is not a target; they are {', '.join(TARGETS)}", param_hint="--target")
    if precision not in PRECISIONS:
        raise typer.BadParameter(f"`{precision}` is not a precision; they are {', '.join(PRECISIONS)}", param_hint="--precision")
    home = target_of(cast("Precision", precision))
    if home is not None and home not in targets:
        raise typer.BadParameter(f"{precision} is a precision of the target {home}; add it to --target", param_hint="--precision")
    capabilities = _capabilities(sm or (), targets)
    given = "none" if weights == ["none"] else weights
    if at is not None and not tune:
        raise typer.BadParameter("sizes are what is tuned for; give --tune", param_hint="--at")
    if tune and ("onnxruntime" not in targets or given == "none"):
        raise typer.BadParameter("it runs the target onnxruntime with weights; add the target, or leave out `none`", param_hint="--tune")
    tuning = None
    with progress() as stage:
        adapters, loaded, wanted = _named(adapter or ()), read(spec, variant, set_), cast("Precision", precision)

        def build(folder: Path, targets: Sequence[str], sms: Sequence[str], tuning: Tuning | None) -> Path:
            return compile(loaded, folder, targets, given, seed, sms, wanted, adapters, stage, calibration, method, tuning)

        if tune:
            from lamina.tune import tune as measured

            tuning = measured(loaded, lambda folder, chosen: build(folder, ["onnxruntime"], (), chosen), out.parent, sizes(at), stage)
        build(out, targets, capabilities, tuning)
    files = sorted(p for p in out.rglob("*") if p.is_file())
    for trial in tuning.trials if tuning else ():
        print(trial)
    print(f"{out}: {', '.join(targets)}; {sum(f.stat().st_size for f in files) / 1e6:.1f} MB in {len(files)} files")


def _capabilities(texts: Sequence[str], targets: Sequence[str]) -> list[str]:
    """86 or 8.6 as 8.6."""
    found = []
    for text in (part.strip() for item in texts for part in item.split(",")):
        if (match := re.fullmatch(r"(\d{1,2})\.?(\d)", text)) is None:
            raise typer.BadParameter(f"`{text}` is not a compute capability; write 86 for 8.6, or 120 for 12.0", param_hint="--sm")
        found.append(".".join(match.groups()))
    if found and "tensorrt" not in targets:
        raise typer.BadParameter("engines are of the target tensorrt; add it to --target", param_hint="--sm")
    return found


def _named(adapters: Sequence[str]) -> dict[str, Path]:
    """Paths by name: the one that is given, else the folder's or file's own."""
    found: dict[str, Path] = {}
    for text in adapters:
        name, given, place = text.partition("=")
        path = Path(place if given else text)
        name = name if given else path.resolve().name.removesuffix(".safetensors")
        if name in found:
            raise typer.BadParameter(f"two adapters are named `{name}`; write NAME=PATH", param_hint="--adapter")
        found[name] = path
    return found
