"""What is shown of the narrow networks holds for the wide ones: small, they are one graph."""

from __future__ import annotations

from pathlib import Path

import pytest
from evidence import Record

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "restoration" / "maxim.yaml"


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_the_wide_network_is_the_narrow_one_in_other_sizes(stages: int, record: Record) -> None:
    graphs = [elaborate(lamina.load(SPEC, f"{width}{stages}", small=True)).graph for width in "sm"]
    nodes = [[(node.op, node.origin.path, [str(v.type) for v in node.outputs]) for node in graph.nodes] for graph in graphs]
    assert nodes[0] == nodes[1]
    record(SPEC, f"m{stages}", "parity", f"the graph of s{stages}, small")
