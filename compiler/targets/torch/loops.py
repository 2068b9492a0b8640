"""Scan and Loop in PyTorch: a module that calls a body's program pass by pass.

Gradients flow through every pass. torch.compile unrolls a Scan at the length that it meets, and leaves a Loop with a condition to Python.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, fx, nn


class Repeated(nn.Module, ABC):
    """A body: its program takes `training`, what a pass is given, then what is the same in every pass (`around`)."""

    def __init__(self, body: fx.GraphModule, carried: int) -> None:
        super().__init__()
        self.body, self.carried = body, carried


@final
class Scanned(Repeated):
    """ONNX's Scan: slices of sequences in, stacked slices out. Takes `training`, carried tensors, sequences, then `around`."""

    def __init__(self, body: fx.GraphModule, carried: int, axes: Sequence[int], stacks: Sequence[int]) -> None:
        super().__init__(body, carried)
        self.axes, self.stacks = tuple(axes), tuple(stacks)

    def forward(self, training: bool, *values: Tensor) -> tuple[Tensor, ...]:
        """The carried tensors after the last pass, and the stacked slices."""
        end = self.carried + len(self.axes)
        state, sequences, around = values[: self.carried], values[self.carried : end], values[end:]
        collected: list[list[Tensor]] = [[] for _ in self.stacks]
        for step in range(sequences[0].shape[self.axes[0]]):
            slices = [s.select(axis, step) for s, axis in zip(sequences, self.axes, strict=True)]
            results = self.body(training, *state, *slices, *around)
            state = results[: self.carried]
            for column, value in zip(collected, results[self.carried :], strict=True):
                column.append(value)
        return (*state, *(torch.stack(column, axis) for column, axis in zip(collected, self.stacks, strict=True)))


@final
class Looped(Repeated):
    """ONNX's Loop without scan outputs. Takes `training`, the bound, the condition, carried tensors, then `around`."""

    def forward(self, training: bool, bound: Tensor, condition: Tensor, *values: Tensor) -> tuple[Any, ...]:
        """The carried tensors after the last pass."""
        state, around = values[: self.carried], values[self.carried :]
        for step in range(int(bound)):
            if not condition:
                break
            condition, *state = self.body(training, bound.new_tensor(step), condition, *state, *around)
        return tuple(state)


def scanned(body: fx.GraphModule, attributes: Mapping[str, Any], inputs: int) -> Scanned:
    """The module of a Scan node with these attributes and so many inputs."""
    axes, stacks = attributes["scan_input_axes"], attributes["scan_output_axes"]
    return Scanned(body, inputs - attributes["num_scan_inputs"], axes, stacks)
