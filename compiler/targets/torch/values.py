"""Intermediate values of a graph, computed in float64: the reference that `verify` compares targets with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lamina.compiler.graph import Graph, Value
from lamina.compiler.targets.torch.arrays import from_numpy, to_numpy
from lamina.compiler.targets.torch.module import LaminaModule, Weights


def run_values(
    graph: Graph, weights: Weights, inputs: Mapping[str, np.ndarray[Any, Any]], names: Iterable[str] | None = None, *, wide: bool = True
) -> dict[str, np.ndarray[Any, Any]]:
    """Values of the graph by name (all node outputs without `names`), in inference mode, in float64 unless not `wide`.

    Only the nodes that the named values need are run. Raises KeyError for a name that the graph does not hold.
    """
    known = {v.name: v for v in _values(graph)}
    wanted = {name: known[name] for name in (known if names is None else names)}
    module = LaminaModule(replace(graph, outputs=tuple(wanted.values())), weights, wide=wide).eval()
    tensors = [from_numpy(inputs[v.name]) for v in graph.inputs]
    with torch.inference_mode():
        results = module(*(t.double() if wide and t.is_floating_point() else t for t in tensors))
    listed = results.values() if isinstance(results, dict) else [results]
    return {name: to_numpy(result) for name, result in zip(wanted, listed, strict=True)}


def _values(graph: Graph) -> list[Value]:
    return [value for node in graph.nodes for value in node.outputs] + list(graph.outputs)
