"""lamina verify"""

from __future__ import annotations

from typing import Annotated

import typer

from lamina.cli._options import Bundle, Json
from lamina.cli._progress import progress


def command(
    bundle: Bundle,
    weights: Annotated[
        str | None, typer.Option(help="The checkpoint that the bundle was compiled from, for an unfused reference of its own numbers.")
    ] = None,
    blame: Annotated[bool, typer.Option("--blame", help="Compare step by step, also where outputs agree.")] = False,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            help="Your own inputs, on which the accuracy of each target is reported: a .npz, a .txt, images, a folder of these, or "
            "NAME=VALUE (repeatable).",
            metavar="PATH",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Hold a bundle against its spec.

    Every target is compared with the unfused definition, at several values of the dynamic sizes. Where one differs, the first
    steps are named that are not what their definitions make of the same values, and where one cannot be run, the steps that it
    cannot; exits with 1.
    """
    from dataclasses import asdict

    from lamina.verify import verify

    with progress() as stage:
        report = verify(bundle, weights, stage, blame=blame, inputs=inputs or ())
    if json:
        import json as encoder

        print(encoder.dumps({"passed": report.passed, **asdict(report)}, indent=1))
    else:
        print(_text(report))
    if not report.passed:
        raise typer.Exit(1)


def _step(found: object) -> str:
    """A step and its place, and those of the steps that it was fused with."""
    from lamina.blame import Divergence

    assert isinstance(found, Divergence)
    among = f", with what stands at {', '.join(map(str, found.among))}" if found.among else ""
    return f"{found.span}: {found.op} at {found.path}{among}"


def _text(report: object) -> str:
    from lamina.compiler.summary import human
    from lamina.verify import Report

    assert isinstance(report, Report)
    lines = [f"reference: {report.reference}"]
    for c in report.comparisons:
        at = ", ".join(f"{k}={v}" for k, v in c.dims.items()) or "fixed sizes"
        rounding = "" if c.rounding is None else f"; its weights' rounding is worth {c.rounding:.1e}"
        lines.append(f"{'ok  ' if c.passed else 'FAIL'} {c.target:<12} {at:<28} error {c.error:.1e} (at most {c.tolerance:.0e}){rounding}")
        lines += [f"     {_step(d)}, error {d.error:.1e}" for d in c.divergences]
    for a in report.accuracy:
        agreement = "" if a.agreement is None else f", the same best score in {a.agreement:.1%}"
        cosine = f"cosine {a.cosine:.5f} (least {a.least_cosine:.5f})"
        lines.append(f"     {a.target:<12} {a.output} of {a.samples} samples: rms error {a.error:.1e}, {cosine}{agreement}")
    if report.not_finite is not None:
        lines.append(f"the outputs are not finite: {report.not_finite.error} comes from {_step(report.not_finite)}")
    for target in dict.fromkeys(w.target for w in report.work):
        parts = [w for w in report.work if w.target == target]
        done, due = sum(w.done for w in parts), sum(w.due for w in parts)
        passed = all(w.passed for w in parts)
        lines.append(f"{'ok  ' if passed else 'FAIL'} {target:<12} experts: {human(done)} multiply-adds, {human(due)} asked for")
        lines += [f"     {w.span}: {w.path} does {w.done / max(w.due, 1):.1f} times its work" for w in parts if not w.passed]
    lines += [f"FAIL {target:<12} {d.span}: {d.message}" for target, found in report.failures.items() for d in found]
    lines += [f"skipped {target}: {reason}" for target, reason in report.skipped.items()]
    return "\n".join(lines)
