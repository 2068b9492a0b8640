"""The TempNets of github.com/zhqiu/TempNet. Needs `pip install torch transformers`; `--source` is a checkout of it."""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from fill import Draw, Scale
from making import Tensors, write
from torch import nn

REFERENCE = "github.com/zhqiu/TempNet"


def scales(hidden: int) -> list[Scale]:
    """Logits come at length 1, so that what reads them must be large; the gate must not saturate."""
    return [Scale("proj.0.weight", 0, 6), Scale("proj.3.weight", 0, 3 * hidden**-0.5), Scale("last.weight", 0, 6 * hidden**-0.5)]


def run(model: Any, inputs: Tensors, *, shifted: bool) -> Tensors:
    """As its language model does when it trains, or generates."""
    logits = inputs["logits"]
    temperature = model(logits - logits.max(-1, keepdim=True).values if shifted else logits)
    return {"temperature": temperature} | ({"cooled": logits / temperature} if logits.shape[-1] < 100 else {})  # the others fill no file


def write_language(authors: Any) -> None:
    for variant, shifted in {"training": False, "generation": True}.items():
        for size, (vocabulary, hidden, shapes) in {"small": (40, 12, [(1, 1), (2, 5)]), "whole": (32000, 256, [(1, 7)])}.items():
            write(
                "layer/tempnet", f"{variant}_{size}", authors.TempNet(vocabulary, hidden).float(),
                [{"logits": Draw((*shape, vocabulary), low=-9, high=12)} for shape in shapes],
                lambda model, inputs, shifted=shifted: run(model, inputs, shifted=shifted),
                reference=REFERENCE, variant=variant, small=size == "small", scales=scales(hidden),
            )  # fmt: skip


def run_pair(model: Any, inputs: Tensors) -> Tensors:
    """As their loss does, which does not name the quotients."""
    likeness = inputs["images"] @ inputs["texts"].T
    images, texts = (model[f"{kind}_temp_gen"](inputs[f"{kind}s"])[:, None] for kind in ("image", "text"))
    return {"image_logits": likeness / images, "text_logits": likeness.T / texts, "image_temperature": images, "text_temperature": texts}


def write_pair(authors: Any) -> None:
    """Both heads of their loss, with weights that set the temperatures apart."""
    for size, (dim, prototypes, counts) in {"small": (12, 10, [(6, 9), (5, 4)]), "whole": (256, 256, [(7, 5)])}.items():
        heads = {f"{kind}_temp_gen": authors.TempGenerator(dim, prototypes) for kind in ("image", "text")}
        strong = [
            Scale("*scaler", -1, 0.3),
            Scale("*linear_1.weight", 0, 10),
            Scale("*linear_1.bias", 0.5, 0.2),
            Scale("*proj.weight", 0, 3),
        ]
        write(
            "layer/tempnet_clip", size, nn.ModuleDict(heads),
            [{"images": Draw((n, dim)), "texts": Draw((m, dim))} for n, m in counts], run_pair,
            reference=REFERENCE, variant="base", small=size == "small", scales=strong,
        )  # fmt: skip


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    source = Path(parser.parse_args().source)
    sys.path[:0] = [str(source), str(source / "Bimodal_CL" / "models")]
    write_language(importlib.import_module("tempnet"))
    write_pair(importlib.import_module("losses"))


if __name__ == "__main__":
    main()
