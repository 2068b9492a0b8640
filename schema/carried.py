"""What the inputs and outputs are called that carry states and adapters: the compiler writes these names, the runtime looks for them."""

from __future__ import annotations

ADAPTER = "adapter."  # and a path, and `.a` or `.b`: matrices that an adapter gives beside the weight at that path
RANK = "adapter_rank"  # the dim that they share
LENGTH = "length."  # and a dim: how much is filled of the buffers that grow along it


def past(state: str) -> str:
    """The input that takes a state as the last call left it."""
    return f"past.{state}"


def present(state: str) -> str:
    """The output that gives a state as this call leaves it."""
    return f"present.{state}"
