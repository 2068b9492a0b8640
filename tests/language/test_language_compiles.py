"""Those of the ten cases that need nothing beyond this version compile, and own the weights that they should."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from pathlib import Path

import pytest

from lamina.compiler.elaborate import elaborate
from lamina.schema.read import read_spec

FOLDER = Path(__file__).parent
COMPILED = (
    "01_multigrid",
    "02_shared_experts",
    "03_recurrent_router",
    "05_fixed_point",
    "07_neural_operator",
    "08_graph_attention",
    "08_hash_grid",
    "08_hypernetwork",
    "09_cells",
    "09_columns",
    "09_unet",
    "10_nested_networks",
)


def weights(name: str, variant: str | None = None) -> dict[str, tuple[object, ...]]:
    """The trained weights: path to shape."""
    graph = elaborate(read_spec(FOLDER / f"{name}.yaml", variant)).graph
    return {p.name: p.shape for p in graph.parameters() if p.trainable}


def count(shapes: dict[str, tuple[object, ...]]) -> int:
    return sum(prod(int(str(size)) for size in shape) for shape in shapes.values())


@pytest.mark.parametrize("name", COMPILED)
def test_every_variant_elaborates(name: str) -> None:
    for variant in read_spec(FOLDER / f"{name}.yaml").variants or [None]:
        assert elaborate(read_spec(FOLDER / f"{name}.yaml", variant)).graph.nodes


def test_the_recurrence_carries_its_state() -> None:
    model = elaborate(read_spec(FOLDER / "04_gated_linear_attention.yaml", "steps", {"layers": "2"}))
    (state,) = model.graph.states
    assert {v.name: str(v.type) for v in model.graph.inputs}[state.past] == "float32[2, N, 4, 128, 256]"
    assert {v.name: str(v.type) for v in model.graph.outputs}[state.present] == "float32[2, N, 4, 128, 256]"


@pytest.mark.parametrize(("variant", "finest"), [("dirichlet", {"S"}), ("textbook", {"A", "S"})])
def test_multigrid_owns_one_smoother_for_each_level(variant: str, finest: set[str]) -> None:
    """The finest level smooths once on the way down, from zero, and so needs A only where the residual is restricted."""
    expected = {f"cycle.{part}.conv.weight" for part in finest}
    for level in range(1, 4):
        above, here = "cycle" + ".coarse" * (level - 1), "cycle" + ".coarse" * level
        expected |= {f"{here}.A.conv.weight", f"{here}.S.conv.weight"}
        expected |= {f"{above}.restrict.conv.weight", f"{above}.project.conv.weight", f"{above}.prolong.weight"}
    assert {p.removeprefix("layers.1.") for p in weights("01_multigrid", variant) if p.startswith("layers.1.")} == expected


def test_unet_has_the_weights_that_its_widths_imply() -> None:
    def unit(inside: int, out: int) -> int:
        return 9 * inside * out + 9 * out * out + 4 * out  # two convolutions without bias, two norms

    widths, total, inside = [64, 128, 256, 512, 1024], 0, 3
    for width in widths:
        total += unit(inside, width)
        inside = width
    for width in reversed(widths[:-1]):
        total += 4 * 2 * width * width + width + unit(2 * width, width)
    assert count(weights("09_unet")) == total + 64 * 2 + 2


def test_neural_operator_has_a_complex_matrix_for_each_kept_mode_of_either_sign() -> None:
    spectral, skip = 2 * 2 * 32 * 32 * 12 * 12, 32 * 32 + 32
    ends = (3 * 32 + 32) + (32 * 128 + 128) + (128 + 1)
    assert count(weights("07_neural_operator")) == 4 * (spectral + skip) + ends


def test_columns_have_the_weights_that_their_widths_imply() -> None:
    def convnext(c: int) -> int:
        return (9 * c + c) + 2 * c + (4 * c * c + 4 * c) + (4 * c * c + c) + c

    widths, depths = [64, 128, 256, 512], [2, 2, 4, 2]
    blocks = sum(depth * convnext(c) for c, depth in zip(widths, depths, strict=True))
    downs = sum(4 * a * b + b + 2 * b for a, b in pairwise(widths))
    ups = sum(b * a + a + 2 * a for a, b in pairwise(widths))
    stem, head = 3 * 16 * 64 + 64 + 2 * 64, 2 * 512 + 512 * 1000 + 1000
    assert count(weights("09_columns")) == stem + 4 * (blocks + downs) + 3 * (ups + sum(widths)) + head


def test_cells_wire_what_their_lists_say() -> None:
    """The depthwise kernels of the first cell's nodes are where the normal cell lists a separable operator, in its size."""
    cell = "stages.0.cells.0.cell.nodes"
    shapes = weights("09_cells")
    found = {
        tuple(p.removeprefix(f"{cell}.").split(".")[:3:2]): s
        for p, s in shapes.items()
        if p.startswith(cell) and p.endswith("for.0.depthwise.weight")
    }
    assert found == {
        ("0", "0"): (168, 1, 5, 5),
        ("0", "1"): (168, 1, 3, 3),
        ("1", "0"): (168, 1, 5, 5),
        ("1", "1"): (168, 1, 3, 3),
        ("4", "0"): (168, 1, 3, 3),
    }


@pytest.mark.parametrize("variant", ["half", "mixed", "shallow", "small"])
def test_nested_networks_own_nothing_of_their_own(variant: str) -> None:
    """Every smaller network's weights are the full one's, whole and under the same paths; only smaller kernels add their matrices."""
    full, nested = weights("10_nested_networks", "full"), weights("10_nested_networks", variant)
    added = {path for path in nested if "transform" in path}
    assert {path: shape for path, shape in nested.items() if path not in added}.items() <= full.items()
    assert bool(added) == (variant == "small")
