"""onnx's backend node tests through the PyTorch target: how many operators and cases pass, what is refused and what is left out."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[1:1] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "torch")]

from test_backend_nodes import (
    ALL,
    CASES,
    LOWERED,
    UNKNOWN,
    _current,
    _expressible,
    _nodes,
    _random,
    test_case,
    test_what_is_not_known_is_refused,
)
from trust import record

from lamina.compiler.targets.torch.registry import known


def _passes(test: Any, case: Any) -> bool:
    try:
        test(case)
    except Exception as error:
        print(f"{case.name}: {type(error).__name__} {str(error)[:300]}")
        return False
    return True


def _why(case: Any) -> str:
    if not _expressible(case.model):
        return "left out: other types (float8, 4 and 2 bits, unsigned, texts, sequences)"
    if not _current(case.model):
        return "left out: written as an earlier opset did"
    assert _random(case)
    return "left out: a random result"


if __name__ == "__main__":
    passed = [case for case in CASES if _passes(test_case, case)]
    refused = [case for case in UNKNOWN if _passes(test_what_is_not_known_is_refused, case)]
    covered = {node.op_type for case in passed for node in _nodes(case.model.graph)} - {"Constant"}
    own = [name for name in known() if name.startswith("torch.")]
    figures: dict[str, str | int | float] = {
        "node cases of onnx": len(ALL),
        "operators that the PyTorch target lowers": len(known()) - len(own) + 2,  # and Loop and Scan
        "of them in cases that pass": len(covered),
        "cases run": len(CASES),
        "cases passed": len(passed),
        "cases of other operators": len(UNKNOWN),
        "of them refused with a line": len(refused),
        **Counter(_why(case) for case in LOWERED if case not in CASES),
        "left out: other operators on other types": len(ALL) - len(LOWERED) - len(UNKNOWN),
    }
    print(figures)
    lacking = ", ".join(sorted(set(known()) - covered - set(own)))
    note = f"Operators in no case: {lacking}: random ones, and GlobalLpPool, for which onnx has no case."
    record("backend_nodes", "onnx's backend node tests in PyTorch", "python tests/trust/backend_nodes.py", figures, note)
    sys.exit(len(passed) < len(CASES) or len(refused) < len(UNKNOWN))
