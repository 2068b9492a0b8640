"""Every op that has a namesake in PyTorch against it, over the samples of PyTorch's own operator tests and all dtypes.

Three of ours compute each sample: the definition (in float64, where the sample is floating point), the PyTorch module and ONNX Runtime.
PyTorch's function in float64 says what is right. A narrower dtype may be off by its rounding, or by four times what PyTorch itself is off.
"""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

import op_harness as bench
import torch
from pydantic import ValidationError
from torch import Tensor
from torch_samples import TABLE, Call, NotTaken, Row, call, infos, samples
from trust import record

from lamina.compiler.graph import Graph, Parameter
from lamina.compiler.op import Example, OpError, paths_for, signature
from lamina.compiler.targets.torch.arrays import from_numpy, to_numpy
from lamina.compiler.targets.torch.module import LaminaModule
from lamina.schema.dims import TensorType

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64")
COMPLEX = ("fft", "ifft", "irfft")  # the ops that take real and imaginary parts
# ONNX Runtime's sigmoid is off by up to 3e-8 however small the result: 1.5e-4 of it at -8.5. What is made with it is held to 1 instead.
LOGISTIC = {"sigmoid", "silu", "glu"}
ORT_REFUSES = "ONNX Runtime has no kernel: the compiler refuses the step"
NOT_FED = "ONNX Runtime's Python interface has no bfloat16"


@dataclass
class Tally:
    """What a run showed."""

    agreed: Counter[str] = field(default_factory=Counter)  # by who computed
    samples: Counter[str] = field(default_factory=Counter)  # compared, by op
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)  # by op and reason
    wrong: list[str] = field(default_factory=list)

    def found(self, what: str) -> None:
        print(what, flush=True)
        self.wrong.append(what)


def run(rows: Sequence[Row], dtypes: Sequence[str], limit: int | None, many: bool, tally: Tally) -> None:
    """Compare the samples of these rows, at most so many of each dtype."""
    known = infos()
    for row in rows:
        for info in known[row.theirs]:
            for dtype in dtypes:
                wanted = getattr(torch, dtype)
                if wanted not in info.supported_dtypes("cpu") or (wanted.is_complex and not row.ours.startswith(COMPLEX)):
                    continue
                for number, sample in enumerate(_some(list(samples(info, wanted, many)), limit)):
                    name = f"{row.ours} ({info.full_name}) {dtype} {number}"
                    try:
                        _one(row, info, wanted, sample, name, tally)
                    except Exception as error:  # the table does not know such a sample: for whoever reads to see
                        tally.found(f"{name}: {type(error).__name__} {error}")


def _some(found: list[Any], limit: int | None) -> list[Any]:
    """Evenly spaced ones."""
    return found if limit is None or len(found) <= limit else [found[i * len(found) // limit] for i in range(limit)]


def _one(row: Row, info: Any, dtype: torch.dtype, sample: Any, name: str, tally: Tally) -> None:
    try:
        made = call(row, sample, dtype)
        case, arrays = _case(row.ours, made)
    except NotTaken as why:
        tally.refused[row.ours, str(why)] += 1
        return
    except ValidationError as error:
        tally.refused[row.ours, f"the value of `{error.errors()[0]['loc'][0]}`"] += 1
        return
    except OpError as error:
        tally.refused[row.ours, "a dtype that it does not take" if error.code == "dtype" else error.message] += 1
        return
    told = f"{name}: {made.arguments} on {', '.join(str(t) for t in case.inputs)}"
    want, plain = _torch(info, sample, double=True), _torch(info, sample, double=False)
    for outputs, type_ in zip(want, case.outputs, strict=True):
        if tuple(outputs.shape) != type_.shape:
            tally.found(f"{told}: the shape rule says {type_}, PyTorch {tuple(outputs.shape)}")
            return
    for who, compute in _WAYS.items():
        try:
            got = compute(case, arrays)
        except Exception as error:  # whatever goes wrong is a finding
            where = traceback.extract_tb(error.__traceback__)[-1]
            tally.found(f"{told}: {who} raises {type(error).__name__} {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})")
            continue
        if got is None:
            tally.refused[row.ours, NOT_FED if _bfloat16(case) else ORT_REFUSES] += 1
            continue
        fault = _differs(row.ours, who, case, arrays, got, want, plain)
        if fault:
            tally.found(f"{told}: {who}: {fault}")
        else:
            tally.agreed[who] += 1
    tally.samples[row.ours] += 1


def _case(name: str, made: Call) -> tuple[bench.Case, dict[str, Tensor]]:
    """The op bound to the sample's types, and the tensors by the names that the bench gives them."""
    cls = bench.op_class(name)
    ours = signature(cls)
    given = [made.inputs.get(i) for i in ours.inputs]
    if ours.variadic:
        given = list(made.inputs[ours.inputs[0]])
    types = tuple(None if t is None else _type(t) for t in given)
    while types and types[-1] is None:
        types, given = types[:-1], given[:-1]
    op = bench.bind(cls, made.arguments)
    out = op.infer(*types)
    weights = op.parameters(*types)
    arrays = {f"x{i}": t for i, t in enumerate(given) if t is not None}
    for path, weight in weights.items():
        tensor = made.weights[path or "weight"]
        if tuple(tensor.shape) != weight.type.shape or _type(tensor).dtype != weight.type.dtype:
            raise NotTaken(f"a `{path or 'weight'}` of another shape or dtype")
        arrays[f"weight.{path}"] = tensor
    example = Example(made.arguments, [str(t or "") for t in types])
    return bench.Case(op, example, types, weights, out if isinstance(out, tuple) else (out,)), arrays


def _type(tensor: Tensor) -> TensorType:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES[:-1]:
        raise NotTaken(f"{dtype}")
    return TensorType(dtype, tuple(tensor.shape))


def _torch(info: Any, sample: Any, *, double: bool) -> list[Tensor]:
    """PyTorch's results; complex ones as two."""

    def widen(value: Any) -> Any:
        if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
            return value.to(torch.complex128 if value.is_complex() else torch.float64)
        return torch.float64 if value in (torch.float32, torch.float16, torch.bfloat16) else value

    used = sample.transform(lambda v: widen(v) if double else v)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = info.op(used.input, *used.args, **used.kwargs)
    found = list(result) if isinstance(result, tuple | list) else [result]
    return [part for t in found for part in ((t.real, t.imag) if t.is_complex() else (t,))]


def _module(path: Callable[[bench.Case], bench.Model], wide: bool, case: bench.Case, arrays: dict[str, Tensor]) -> list[Tensor]:
    model = path(case)
    inputs = tuple(v for v in model.inputs if not isinstance(v, Parameter))
    module = LaminaModule(Graph("example", inputs, model.outputs, model.nodes), _Given(arrays), wide=wide)
    given = [arrays[v.name] for v in inputs]
    with torch.no_grad():
        result = module.eval()(*(t.double() if wide and t.is_floating_point() else t for t in given))
    return list(result.values()) if isinstance(result, dict) else [result]


class _Given:
    """Weights by name."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    def get(self, parameter: Parameter) -> Any:
        return _Array(self.tensors[parameter.name])


@dataclass
class _Array:
    tensor: Tensor

    def numpy(self) -> Any:
        return to_numpy(self.tensor)


def _definition(case: bench.Case) -> bench.Model:
    model = bench.lower(case)
    assert model is not None
    return model


def _first(target: str) -> Callable[[bench.Case], bench.Model]:
    """What a target takes: the first path that does not decline."""
    return lambda case: next(m for m in (bench.lower(case, path) for path in paths_for(type(case.op), target)) if m is not None)


def _onnx_runtime(case: bench.Case, arrays: dict[str, Tensor]) -> list[Tensor] | None:
    if _bfloat16(case):
        return None
    model = _first("onnxruntime")(case)
    try:
        session = bench.session(bench.proto(model, case.outputs))
    except Exception as error:
        if "NOT_IMPLEMENTED" in str(error):
            return None
        raise
    fed = {v.name: to_numpy(arrays[v.name]) for v in model.inputs}
    return [from_numpy(a) for a in session.run(None, fed)]


def _bfloat16(case: bench.Case) -> bool:
    return any(t is not None and t.dtype == "bfloat16" for t in (*case.inputs, *case.outputs))


_WAYS: dict[str, Callable[[bench.Case, dict[str, Tensor]], list[Tensor] | None]] = {
    "definition": lambda case, arrays: _module(_definition, True, case, arrays),
    "module": lambda case, arrays: _module(_first("module"), False, case, arrays),
    "ONNX Runtime": _onnx_runtime,
}


def _differs(
    name: str, way: str, case: bench.Case, arrays: dict[str, Tensor], got: list[Tensor], want: list[Tensor], plain: list[Tensor]
) -> str:
    """What is wrong; an empty text if nothing is."""
    for g, type_ in zip(got, case.outputs, strict=True):
        kind = getattr(torch, type_.dtype)
        if g.dtype not in (kind, torch.float64 if kind.is_floating_point else kind):
            return f"the dtype is {g.dtype}, but the shape rule says {type_.dtype}"
    if name in ("sort", "top_k"):  # equal elements may come in any order: what the indices point at is compared
        x, dim = arrays["x0"], case.op.dim  # type: ignore[attr-defined]
        got, want, plain = ([v[0], x.gather(dim, v[1]).to(v[0].dtype)] for v in (got, want, plain))
    for g, w, p in zip(got, want, plain, strict=True):
        if g.shape != w.shape:
            return f"the shape is {tuple(g.shape)}, PyTorch's {tuple(w.shape)}"
        if g.is_floating_point():
            kind = getattr(torch, case.outputs[0].dtype)
            changes = all(t is None or t.dtype != case.outputs[0].dtype for t in case.inputs)
            # a definition in float64 has the constants of its dtype, and casts to a narrower one are left out
            dtype = kind if changes or kind in (torch.float16, torch.bfloat16) else g.dtype
            wrong = _apart(g, w, p, dtype, name in LOGISTIC and way == "ONNX Runtime")
        else:
            wrong = g != w.to(g.dtype)
        if bool(wrong.any()):
            at = tuple(int(i) for i in wrong.nonzero()[0])
            values = f"{g[at].item()}, expected {w[at].item()} (PyTorch {p[at].item()})"
            return f"{int(wrong.sum())} of {wrong.numel()} differ, at {list(at)}: {values}"
    return ""


def _apart(g: Tensor, w: Tensor, p: Tensor, dtype: torch.dtype, logistic: bool) -> Tensor:
    """Where it is neither near PyTorch in float64 nor near PyTorch in the sample's dtype."""
    limit = bench.TOLERANCE[str(dtype).removeprefix("torch.")]
    full, rounded, own = w.double(), w.to(dtype).double(), p.double()
    off = torch.nan_to_num((own - rounded).abs(), nan=0.0, posinf=0.0)
    return ~(
        _near(g, rounded, limit, off, logistic) | _near(g, full, limit, off, logistic) | torch.isclose(g.double(), own, limit, 0.0, True)
    )


def _near(g: Tensor, wanted: Tensor, limit: float, off: Tensor, logistic: bool) -> Tensor:
    finite = wanted.isfinite()
    size = wanted[finite].abs().max() if bool(finite.any()) else torch.zeros(())
    allowed = limit * (wanted.abs() + (size.clamp(min=1) if logistic else size)) + 4 * off
    return (finite & ((g.double() - wanted).abs() <= allowed)) | (g.double() == wanted) | (g.isnan() & wanted.isnan())


def _chosen(names: str) -> list[Row]:
    return [row for row in TABLE if not names or row.ours in names.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=None, help="samples of each op and dtype; all unless given")
    parser.add_argument("--ops", default="", help="names with commas; all unless given")
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    parser.add_argument("--many", action="store_true", help="PyTorch's reference inputs too: more shapes, extreme values")
    return parser.parse_args()


def _report(tally: Tally, options: argparse.Namespace) -> None:
    for (op, why), count in sorted(tally.refused.items()):
        print(f"  not taken: {op}: {why}: {count}")
    reasons = Counter[str]()
    for (_, why), count in tally.refused.items():
        reasons[next((kind for start, kind in _KINDS.items() if why.startswith(start)), "another value, rank or size than it takes")] += (
            count
        )
    namesakes = {row.ours for row in TABLE}
    figures = {
        "ops that have a namesake in PyTorch's operator tests": f"{len(namesakes)} of {len(bench.op_names())}",
        "their namesakes": len({row.theirs for row in TABLE}),
        "ops compared": len(tally.samples),
        "samples compared": tally.samples.total(),
        **{f"samples that the {who} agrees on": count for who, count in tally.agreed.items()},
        **{f"samples not taken: {why}": count for why, count in reasons.most_common()},
        "findings open": len(tally.wrong),
    }
    print(figures)
    if not (options.ops or options.count or options.many or options.dtypes != ",".join(DTYPES)):
        others = ", ".join(sorted(set(bench.op_names()) - namesakes))
        unmet = ", ".join(sorted(namesakes - tally.samples.keys()))
        note = f"PyTorch's tests have no operator for: {others}. None of their samples fits: {unmet}."
        record("namesakes", "Ops against their namesakes in PyTorch", "python tests/trust/namesakes.py", figures, note)


_KINDS = {
    "a dtype": "a dtype that the op does not take, or two that differ",
    "argument": "an argument that the op has not (most: the indices of max_pool)",
    "a tensor as": "a tensor as an argument",
    "an input without": "an image without a batch",
    "a random": "a random result",
    ORT_REFUSES: ORT_REFUSES,
    NOT_FED: NOT_FED,
}


if __name__ == "__main__":
    given = _arguments()
    found = Tally()
    torch.set_num_threads(1)
    run(_chosen(given.ops), given.dtypes.split(","), given.count, given.many, found)
    _report(found, given)
    sys.exit(bool(found.wrong))
