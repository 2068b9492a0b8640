"""Scan and Loop in PyTorch: a module that calls a body's program pass by pass.

Gradients flow through every pass. torch.compile unrolls a Scan at the length that it meets, and leaves a Loop with a condition to Python.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from torch._higher_order_ops import while_loop
from torch._higher_order_ops.scan import scan


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
        if torch.compiler.is_exporting():
            return self._exported(training, state, sequences, around)
        collected: list[list[Tensor]] = [[] for _ in self.stacks]
        for step in range(sequences[0].shape[self.axes[0]]):
            slices = [s.select(axis, step) for s, axis in zip(sequences, self.axes, strict=True)]
            results = self.body(training, *state, *slices, *around)
            state = results[: self.carried]
            for column, value in zip(collected, results[self.carried :], strict=True):
                column.append(value)
        return (*state, *(torch.stack(column, axis) for column, axis in zip(collected, self.stacks, strict=True)))

    def _exported(
        self, training: bool, state: Sequence[Tensor], sequences: Sequence[Tensor], around: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """As PyTorch's own scan, whose length stays dynamic in the exported program."""

        def step(carry: list[Tensor], slices: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
            results = [_copy(r) for r in self.body(training, *carry[1:], *slices, *around)]
            return [_copy(carry[0]), *results[: self.carried]], results[self.carried :]

        moved = [_copy(s.movedim(axis, 0)) for s, axis in zip(sequences, self.axes, strict=True)]
        nothing = sequences[0].new_zeros(1)  # it must carry something
        last, stacked = scan(step, [nothing, *map(_copy, state)], moved)
        return (*last[1:], *(_copy(s.movedim(0, axis)) for s, axis in zip(stacked, self.stacks, strict=True)))


@final
class Looped(Repeated):
    """ONNX's Loop. Takes `training`, the bound, the condition, carried tensors, then `around`. One that stacks cannot be exported."""

    def __init__(self, body: fx.GraphModule, carried: int, stacks: int) -> None:
        super().__init__(body, carried)
        self.stacks = stacks

    def forward(self, training: bool, bound: Tensor, condition: Tensor, *values: Tensor) -> tuple[Any, ...]:
        """The carried tensors after the last pass, and the stacked results of each."""
        state, around = values[: self.carried], values[self.carried :]
        if torch.compiler.is_exporting() and not self.stacks:
            return self._exported(training, bound, condition, state, around)
        collected: list[list[Tensor]] = [[] for _ in range(self.stacks)]
        for step in range(int(bound)):
            if not condition:
                break
            condition, *results = self.body(training, bound.new_tensor(step), condition, *state, *around)
            state = tuple(results[: self.carried])
            for column, value in zip(collected, results[self.carried :], strict=True):
                column.append(value)
        return (*state, *map(torch.stack, collected))

    def _exported(
        self, training: bool, bound: Tensor, condition: Tensor, state: Sequence[Tensor], around: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """As PyTorch's own while_loop."""

        def going(step: Tensor, condition: Tensor, *state: Tensor) -> Tensor:
            return condition & (step < bound)

        def passed(step: Tensor, condition: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            return (step + 1, *(_copy(r) for r in self.body(training, step, condition, *state, *around)))

        found = while_loop(  # type: ignore[no-untyped-call]
            going, passed, (torch.zeros_like(bound), _copy(condition), *map(_copy, state))
        )
        return tuple(found[2:])


def _copy(tensor: Tensor) -> Tensor:
    """PyTorch's loops want what is carried to be no view, and laid out alike in every pass."""
    return tensor.clone(memory_format=torch.contiguous_format)


def scanned(body: fx.GraphModule, attributes: Mapping[str, Any], inputs: int, outputs: int) -> Scanned:
    """The module of a Scan node with these attributes, and so many inputs and outputs."""
    sequences = attributes["num_scan_inputs"]
    carried = inputs - sequences
    axes = attributes.get("scan_input_axes", (0,) * sequences)
    return Scanned(body, carried, axes, attributes.get("scan_output_axes", (0,) * (outputs - carried)))
