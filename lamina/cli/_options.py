"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from lamina.runtime.ray.cluster import Share
    from lamina.schema.spec import ModelSpec

Spec = Annotated[str, typer.Argument(help="A spec file, or the name of one in the zoo (`lamina list`).", metavar="SPEC")]
Bundle = Annotated[Path, typer.Argument(help="A bundle folder, as `lamina compile` writes it.", metavar="BUNDLE")]
Variant = Annotated[str | None, typer.Option(help="Which of the spec's variants.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a config value: --set depth=4 (repeatable).", metavar="KEY=VALUE")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
BackendName = Literal["auto", "onnxruntime", "onnx", "tensorrt", "torch"]
Backend = Annotated[BackendName, typer.Option(help="What runs the bundle.")]
Adapter = Annotated[
    list[str] | None, typer.Option(help="An adapter of the bundle: its name, or NAME=WEIGHT to mix several (repeatable).", metavar="NAME")
]
At = Annotated[str | None, typer.Option(help="Dynamic sizes, such as N=1,T=128; the others take their `opt`.", metavar="DIM=SIZE,...")]
Address = Annotated[
    str | None,
    typer.Option(help="The cluster.  [default: RAY_ADDRESS's, else one that `ray start` began here, else a new one]", metavar="HOST:PORT"),
]
Cpus = Annotated[float | None, typer.Option(help="Processors that Ray counts for each session, and its threads.  [default: 1]", min=0)]
Gpus = Annotated[float | None, typer.Option(help="GPUs that Ray lends to each session.  [default: 0]", min=0)]
Target = Literal["onnx", "onnxruntime", "tensorrt", "torch"]
Precision = Literal["float32", "int8", "int4", "int8-dynamic", "int8-static", "float16", "bfloat16"]
Zoo = Path(__file__).resolve().parent.parent / "specs"


def read(spec: str, variant: str | None, settings: list[str] | None) -> ModelSpec:
    """The spec with its variant and overrides. Raises SpecError."""
    from lamina.compiler.load import load_spec

    return load_spec(find(spec), variant, pairs(settings or [], "--set"))


def zoo() -> list[Path]:
    """The model files that come with Lamina."""
    return [p for p in sorted(Zoo.glob("*/*.yaml")) if p.parent.name != "blocks"]


def find(spec: str) -> Path:
    """A path, or a spec of the zoo by its name. Raises SpecError for a word that is neither."""
    path = Path(spec)
    if path.exists() or path.suffix in (".yaml", ".yml") or "/" in spec:
        return path
    named = {p.stem: p for p in zoo()}
    if spec not in named:
        raise _unknown(spec, list(named))
    return named[spec]


def _unknown(spec: str, names: list[str]) -> Exception:
    from lamina.schema.diagnostics import Diagnostic, Span, SpecError, did_you_mean

    hint = did_you_mean(spec, names) or f"the zoo has {', '.join(names)}"
    return SpecError([Diagnostic("file", f"there is no file `{spec}`, and no spec of that name in the zoo", Span(spec, 1, 1), hint)])


def pairs(items: list[str], option: str) -> dict[str, str]:
    """KEY=VALUE texts as a dict. Raises a usage error."""
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"`{item}` is not KEY=VALUE", param_hint=option)
        found[key] = value
    return found


def sizes(text: str | None, option: str = "--at") -> dict[str, int]:
    """DIM=SIZE,... as a dict. Raises a usage error."""
    found = pairs([t.strip() for t in (text or "").split(",") if t.strip()], option)
    for key, value in found.items():
        if not value.isdecimal():
            raise typer.BadParameter(f"`{key}={value}`: a size is a whole number", param_hint=option)
    return {k: int(v) for k, v in found.items()}


def adapter(given: list[str]) -> str | dict[str, float] | None:
    """What a session's `set_adapter` takes. Raises a usage error."""
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    found = {}
    for item in given:
        name, equals, weight = item.rpartition("=")
        try:
            found[name if equals else weight] = float(weight) if equals else 1.0
        except ValueError as error:
            raise typer.BadParameter(f"`{item}` is not NAME=WEIGHT", param_hint="--adapter") from error
    return found or None


def share(cpus: float | None, gpus: float | None) -> Share:
    """What `--cpus` and `--gpus` say."""
    from lamina.runtime.ray.cluster import Share

    return Share(cpus=1.0 if cpus is None else cpus, gpus=gpus or 0.0)
