"""AxialAttention of the package axial-attention, on images and videos. Needs `pip install torch axial-attention`."""

from __future__ import annotations

from typing import Any

from axial_attention import AxialAttention
from fill import Draw
from making import Tensors, write

CASES = {"image": (2, True), "image_in_turn": (2, False), "video": (3, True)}
SIZES = {2: ((2, 2, 5), (1, 6, 2)), 3: ((1, 2, 3, 4), (2, 3, 1, 2))}


def run(model: Any, inputs: Tensors) -> Tensors:
    ((name, x),) = inputs.items()
    return {f"mixed_{name}": model(x)}


def main() -> None:
    for variant, (axes, summed) in CASES.items():
        name = variant.split("_")[0]
        for size, (dim, heads) in {"small": (8, 2), "whole": (512, 8)}.items():
            model = AxialAttention(dim, num_dimensions=axes, heads=heads, dim_index=1, sum_axial_out=summed)
            shapes = SIZES[axes][: 1 + (size == "small")]
            write(
                "layer/axial_attention", f"{variant}_{size}", model, [{name: Draw((n, dim, *rest), low=-3, high=3)} for n, *rest in shapes],
                run, reference="github.com/lucidrains/axial-attention", variant=variant, small=size == "small",
            )  # fmt: skip


if __name__ == "__main__":
    main()
