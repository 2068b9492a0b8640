"""The authors' transformers with their Triton kernel, interpreted on the CPU (their PyTorch form of it lacks an |x|).

Needs `pip install timm triton`, and checkouts of github.com/Adamdad/kat and github.com/Adamdad/rational_kat_cu.
TRITON_INTERPRET=1 python make_kat.py --source KAT --rational RATIONAL
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fill import Draw, Scale
from making import Tensors, write

SCALES = (Scale("*.weight_numerator", 0, 0.4), Scale("*.weight_denominator", 1, 0.3))
COUNTED: dict[str, Any] = {"macs_at": {"N": 1}}
SMALL = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 10}


class OneProgram:
    """A kernel over all elements at once: the interpreter takes its time for each program, not for each element."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        return lambda x, *rest, **_: self.kernel[(1,)](x, *rest, BLOCK_SIZE=1 << (x.numel() - 1).bit_length())


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(inputs["image"])}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--rational", type=Path, required=True)
    arguments = parser.parse_args()
    sys.path += [str(arguments.source), str(arguments.rational)]
    from timm.layers import set_fused_attn

    set_fused_attn(False)  # whose products PyTorch's counter would leave out
    import katransformer
    from kat_rational import rational_triton

    for kernel in ("rational_fwd_kernel", "rational_bwd_kernel"):
        setattr(rational_triton, kernel, OneProgram(getattr(rational_triton, kernel)))

    def case(name: str, model: Any, size: int, **more: Any) -> None:
        points = [{"image": Draw((1, 3, size, size), low=-2, high=2)}]
        write("vision/kat", name, model, points, run, reference="github.com/Adamdad/kat", scales=SCALES, **more)

    case("small_sizes", katransformer.kat_tiny_patch16_224(**SMALL), 32, variant="tiny", small=True, **COUNTED)
    case("small_sizes_gelu", katransformer.kat_tiny_gelu_patch16_224(**SMALL), 32, variant="tiny_gelu", small=True, **COUNTED)
    for variant in ("tiny", "small", "base", "tiny_gelu", "small_gelu", "base_gelu"):
        model = getattr(katransformer, f"kat_{variant}_patch16_224")()
        counted: dict[str, Any] = COUNTED if variant in ("tiny", "small") else {}  # the others are as these
        case(variant, model, 224, variant=variant, sweep=variant != "tiny", **counted)


if __name__ == "__main__":
    main()
