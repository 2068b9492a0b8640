"""What makes the model autoregressive: which pixels a logit sees, and sampling by parts that gives what sampling by the whole gives."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from evidence import Record
from fill import Draw, Scale, fill
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate

SPEC = Path(__file__).parents[2] / "specs" / "sequence" / "axial_transformer.yaml"
SIZES, LEVELS = [(3, 4), (1, 5), (4, 2)], 6  # all from the same sessions
SCALES = (Scale("*position*", 0, 1), Scale("embed.*", 0, 1), Scale("*.weight", 0, 0.7))  # so that every pixel matters


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, lamina.Session]:
    """The whole and its parts, from one checkpoint."""
    folder = tmp_path_factory.mktemp("axial")
    specs = {part: lamina.load(SPEC, small=True, part=part) for part in ("all", "exterior", "outer", "inner")}
    parameters = {part: list(elaborate(spec).graph.parameters()) for part, spec in specs.items()}
    assert {p.name for p in parameters["all"]} == {p.name for part in ("exterior", "outer", "inner") for p in parameters[part]}
    for part, own in parameters.items():
        save_file({p.name: fill(p.name, tuple(map(int, p.shape)), SCALES) for p in own}, folder / f"{part}.safetensors")
    return {
        part: lamina.Session(lamina.compile(spec, folder / part, weights=folder / f"{part}.safetensors")) for part, spec in specs.items()
    }


def logits_of(sessions: dict[str, lamina.Session], image: np.ndarray, plane: int) -> np.ndarray:
    return sessions["all"](image=image, plane=np.full(len(image), plane))["logits"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("plane", range(3))
def test_a_pixel_changes_only_the_logits_after_it(sessions: dict[str, lamina.Session], plane: int, size: tuple[int, int]) -> None:
    """And, in an earlier plane, all of them; in a later one, none."""
    h, w = size
    image = Draw((1, h, w, 3), "int64", 0, LEVELS).array("image")
    before = logits_of(sessions, image, plane)
    for row, column, other in product(range(h), range(w), range(3)):
        changed = image.copy()
        changed[0, row, column, other] = (image[0, row, column, other] + 3) % LEVELS
        moved = np.abs(logits_of(sessions, changed, plane) - before)[0].max(-1) > 0
        order = np.arange(h * w).reshape(h, w) > row * w + column
        assert (moved == (order if other == plane else np.full((h, w), other < plane))).all()


@pytest.mark.parametrize("size", SIZES)
def test_sampling_by_rows_and_pixels_gives_the_same_image(
    sessions: dict[str, lamina.Session], size: tuple[int, int], record: Record
) -> None:
    """The exterior runs once for a plane, the outer layers for a row, the inner ones for a pixel; the largest noisy logit is drawn."""
    h, w = size
    noise = 3 * Draw((2, h, w, 3, LEVELS)).array("noise")
    naive, parts = (np.zeros((2, h, w, 3), np.int64) for _ in range(2))
    for plane in range(3):
        for row, column in product(range(h), range(w)):
            logits = logits_of(sessions, naive, plane)[:, row, column]
            naive[:, row, column, plane] = (logits + noise[:, row, column, plane]).argmax(-1)
        before = sessions["exterior"](image=parts, plane=np.full(2, plane))["before"]
        for row in range(h):
            above = sessions["outer"](pixels=parts[..., plane], before=before)["above"][:, row : row + 1]
            for column in range(w):
                logits = sessions["inner"](pixels=parts[:, row : row + 1, :, plane], above=above)["logits"][:, 0, column]
                parts[:, row, column, plane] = (logits + noise[:, row, column, plane]).argmax(-1)
    np.testing.assert_array_equal(parts, naive)
    assert len(np.unique(naive)) == LEVELS
    for image, part in product(("imagenet32", "imagenet64"), ("exterior", "outer", "inner")):
        record(SPEC, f"{image}_{part}", "parity", "the pixels that the whole gives, exactly, small")


def test_the_larger_model_is_the_smaller_one_in_other_sizes(record: Record) -> None:
    """Small, both are one graph: what the authors' code shows of one it shows of the other."""
    graphs = [elaborate(lamina.load(SPEC, variant, small=True, size=8, dim=8)).graph for variant in ("imagenet32", "imagenet64")]
    nodes = [[(node.op, node.origin.path, [str(v.type) for v in node.outputs]) for node in graph.nodes] for graph in graphs]
    assert nodes[0] == nodes[1]
    record(SPEC, "imagenet64", "parity", "the graph of imagenet32, small")
