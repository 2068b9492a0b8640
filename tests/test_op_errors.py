"""Inputs and arguments that do not fit: `op_errors.txt` holds the words of every shape rule."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import op_harness as bench
import pytest

from lamina.compiler.op import Op, OpError
from lamina.schema.dims import TensorType

BLOCKS = [b for b in (Path(__file__).parent / "op_errors.txt").read_text().split("\n\n") if not b.startswith("#")]
HEAD = re.compile(r"(?P<name>\w+) (?P<arguments>\{.*\})(?: (?P<inputs>.+))?")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.splitlines()[0])
def test_message(block: str) -> None:
    first, *wanted = block.strip().splitlines()
    head = HEAD.fullmatch(first)
    assert head is not None
    op, arguments = bench.op_class(head["name"]), json.loads(head["arguments"])
    inputs = [bench.tensor_type(text) for text in (head["inputs"].split(" x ") if head["inputs"] else [])]
    with pytest.raises(OpError) as caught:
        _infer(op, arguments, inputs)
    error = caught.value
    said = [f"  {error.code}: {error.message}", *([f"  help: {error.hint}"] if error.hint else [])]
    assert said == wanted


def _infer(op: type[Op], arguments: dict[str, Any], inputs: list[TensorType]) -> None:
    """Bind and run the shape rule, as a call of the op does."""
    bench.bind(op, {**arguments, **bench.blocks(op, arguments, inputs)}).infer(*inputs)
