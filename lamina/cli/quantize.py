"""lamina quantize"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lamina.cli._options import Json, Set, Spec, Variant, read
from lamina.cli._progress import progress

if TYPE_CHECKING:
    from lamina.mixed import Mixed

_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9}


def command(
    spec: Spec,
    calibration: Annotated[
        list[str],
        typer.Option(help="Your own inputs: a .npz, a .txt, images, a folder of these, or NAME=VALUE (repeatable).", metavar="PATH"),
    ],
    error: Annotated[
        float | None, typer.Option(help="How far the outputs may be from those in float32: a root mean square, such as 0.02.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="How large the weights of these layers may be, such as 12MB.")] = None,
    among: Annotated[
        str, typer.Option(help="Precisions to choose from beside float32: int8, int4, int8-dynamic and int8-static.", metavar="P,...")
    ] = "int8,int4",
    variant: Variant = None,
    set_: Set = None,
    weights: Annotated[list[str] | None, typer.Option(help="A checkpoint, as of `lamina compile`.")] = None,
    seed: Annotated[int, typer.Option(help="For random weights, where no checkpoint is given.")] = 0,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the spec with this choice to a file.")] = None,
    json: Json = False,
) -> None:
    """Choose a precision for each layer by what it does to the outputs.

    Every layer is compiled and run in each precision, on inputs of yours. What comes out is a `precision:` section for the spec: the
    smallest whose measured error is at most --error, or the most accurate of at most --size.
    """
    from lamina.compiler.compile import PRECISIONS
    from lamina.compiler.precision import HALF
    from lamina.compiler.resolved import with_precision
    from lamina.mixed import mixed

    known = [name for name in PRECISIONS if name not in HALF]
    precisions = [name for name in dict.fromkeys(among.split(",")) if name != "float32"]
    for name in precisions:
        if name not in known:
            raise typer.BadParameter(
                f"`{name}` is not a precision of the target onnxruntime; they are {', '.join(known)}", param_hint="--among"
            )
    if (error is None) == (size is None):
        raise typer.BadParameter("say how much may be lost with --error, or how much is kept with --size", param_hint="--error")
    model = read(spec, variant, set_)
    limit = None if size is None else _bytes(size)
    with progress() as stage:
        found = mixed(model, calibration, precisions, error=error, size=limit, weights=weights, seed=seed, progress=stage)  # type: ignore[arg-type]
    if out is not None:
        out.write_text(with_precision(model, found.rules()), encoding="utf-8")
    print(_as_json(found) if json else _text(found))


def _bytes(text: str) -> int:
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    try:
        return int(float(text.removesuffix(unit)) * _UNITS.get(unit, 1))
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"`{text}` is not a size such as 12MB", param_hint="--size") from None


def _as_json(found: Mixed) -> str:
    import json
    from dataclasses import asdict

    return json.dumps({**asdict(found), "rules": found.rules()}, indent=1)


def _text(found: Mixed) -> str:
    """The section, and what it costs, as comments of YAML."""
    from lamina.compiler.resolved import precision_section

    lost = f"# error {found.measured:.1e}, of the layers' own effects {found.predicted:.1e}"
    return f"{precision_section(found.rules())}{lost}; {found.size / 1e6:.1f} MB, in float32 {found.whole / 1e6:.1f} MB"
