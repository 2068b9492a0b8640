"""Our specs against what the references computed: the same checkpoint, the same parameters, the same outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cases import Reference, references
from evidence import Record
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import summarize

SPECS = Path(__file__).parents[2] / "specs"
CASES = [pytest.param(case, marks=[pytest.mark.sweep] if case.sweep else [], id=str(case)) for case in references()]


@pytest.mark.parametrize("case", CASES)
def test_reference(case: Reference, tmp_path: Path, record: Record) -> None:
    path = SPECS / f"{case.spec}.yaml"
    spec = lamina.load(path, variant=case.variant, small=case.small, **case.config).model_copy(update={"tokenizer": None})
    model = elaborate(spec)
    summary = summarize(model, {name: case.at.get(name, dim.min) for name, dim in model.dims.items()})
    assert summary.parameters == case.parameters
    assert case.macs in (None, summary.macs)
    save_file({key: np.ascontiguousarray(array) for key, array in case.checkpoint().items()}, tmp_path / "reference.safetensors")
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "reference.safetensors"))
    worst = max(_error(case.thin(session(**feeds)), want, case) for feeds, want in zip(case.inputs(), case.outputs(), strict=True))
    record(path, case.variant, "parity", f"{worst:.0e} of {case.reference}{'' if case.whole else ', small'}")


def _error(got: dict[str, np.ndarray], want: dict[str, np.ndarray], case: Reference) -> float:
    errors = []
    for name, array in want.items():
        assert got[name].shape == array.shape, (case, name)
        if array.dtype.kind != "f":
            np.testing.assert_array_equal(got[name], array)
            continue
        errors.append(float(np.abs(got[name] - array).max() / np.abs(array).max()))
        assert errors[-1] <= case.tolerance, f"{case}: {name} is {errors[-1]:.2g} of its largest magnitude away"
    return max(errors, default=0.0)
