"""What is known of integers before they are computed holds for every size: ops against what PyTorch makes of them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamina
from lamina.compiler.elaborate import elaborate, emit
from lamina.compiler.elaborate.model import Elaborated
from lamina.compiler.graph import Parameter, Value
from lamina.compiler.integers import Known
from lamina.compiler.passes.decompose import decompose
from lamina.compiler.targets.torch import run_values
from lamina.schema.dims import INTEGERS, value_of

# An expression, and whether its ends are known to be attained (None: nothing is known of it).
CASES: dict[str, bool | None] = {
    "arange(T)": True,
    "arange(P, P + T)": True,
    "arange(P + T)[P:]": True,
    "arange(3, 40 + P, 4)": True,
    "-arange(T) + 5": True,
    "arange(T)[:, None] - arange(P + 1)": True,
    "3 * arange(T)[:, None] + arange(2)": True,
    "T * arange(2)[:, None] + arange(T)": True,
    "arange(T)[1:] * 2": True,
    "arange(T)[::2]": True,
    "arange(T)[-2:]": False,
    "(arange(T) + P)[0]": True,
    "reshape(2 * arange(T)[:, None] + arange(2), [-1])": True,
    "transpose(arange(T)[:, None] + 10 * arange(3), 0, 1)": True,
    "clamp(arange(T) - 3, -2, 2)": False,
    "clamp(arange(T) - 3, -2, 0)": True,
    "clamp(arange(T) - P, 0, 7)": False,
    "maximum(arange(T)[:, None] - arange(T), 0)": True,
    "minimum(arange(T), 5 - arange(T))": False,
    "where(arange(T) > 3, arange(T), -1)": False,
    "concat([arange(T), arange(3) + 100], dim=0)": True,
    "stack([zeros([3], dtype='int64'), 9 * ones([3], dtype='int64')], dim=0)": True,
    "arange(T) % 4": False,
    "arange(4) % 7": True,
    "arange(T) // 3": True,
    "cast(arange(T), 'int32') + 1": True,
    "expand(arange(T)[:, None], [T, 3]) + 2": True,
    "flip(tile(arange(3), [2]), 0)": True,
    "roll(arange(T), 1, 0)": True,
    "repeat_interleave(full([4], 7, dtype='int64'), 2, dim=0)": True,
    "constant([4, -3, 9], dtype='int64') + 1": True,
    "constant([4, -3, 9], dtype='int64') * 2": True,
    "gather(constant([4, -3, 9], dtype='int64'), arange(2))": False,
    "split(arange(6), 2)[0]": False,
    "squeeze(arange(T)[None], 0)": True,
    "zeros_like(ids) + arange(T)": True,
    "ones_like(ids)": True,
    "ids % 5": False,
    "clamp(ids, 0, 3)": False,
    "ids + arange(T)": None,
    "cumsum(arange(T), dim=0)": None,
}
SPEC = """\
lamina: 1
model: integers
inputs: {{ids: "int64[T]", more: "float32[P]"}}
dims: {{T: {{min: 4, max: 9}}, P: {{min: 1, max: 6}}}}
body: ["y = {text}", "z = cast(sum(y), 'int64') + cast(sum(more), 'int64')"]
outputs: {{z: "int64[]"}}
"""


@pytest.mark.parametrize("text", CASES)
def test_holds_at_every_size(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, value, known = _known(text, tmp_path, monkeypatch)
    assert (None if known is None else known.attained) == CASES[text]
    if known is None:
        return
    graph = decompose(model.graph, "definition")
    for t, p in itertools.product((4, 5, 9), (1, 2, 6)):
        env, ids = {"T": t, "P": p}, np.random.default_rng(t).integers(-9, 10, t)
        (found,) = run_values(graph, _Weights(), {"ids": ids, "more": np.zeros(p, np.float32)}, [value.name]).values()
        low, high = value_of(known.low, env), value_of(known.high, env)
        assert low <= found.min()
        assert found.max() <= high
        assert not known.attained or (found.min(), found.max()) == (low, high)


def _known(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Elaborated, Value, Known]:
    """The graph, the value that the expression makes, and what is known of it."""
    emitters: list[emit.Emitter] = []
    made = emit.Emitter.__init__
    monkeypatch.setattr(emit.Emitter, "__init__", lambda self, *a: emitters.append(self) or made(self, *a))
    path = folder / "spec.yaml"
    path.write_text(SPEC.format(text=text), encoding="utf-8")
    model = elaborate(lamina.load(path))
    value = next(v for node in model.graph.nodes if node.op_type == "sum" and (v := node.inputs[0]) is not None and v.dtype in INTEGERS)
    return model, value, emitters[-1].known(value)


class _Weights:
    """There are none."""

    def get(self, parameter: Parameter) -> Any:
        raise KeyError(parameter.name)
