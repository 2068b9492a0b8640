"""The TempNet of github.com/zhqiu/TempNet. Needs `pip install torch transformers`; `--source` is a checkout of it."""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from typing import Any

from fill import Draw, Scale
from making import Tensors, write


def scales(hidden: int) -> list[Scale]:
    """Logits come at length 1, so that what reads them must be large; the gate must not saturate."""
    return [Scale("proj.0.weight", 0, 6), Scale("proj.3.weight", 0, 3 * hidden**-0.5), Scale("last.weight", 0, 6 * hidden**-0.5)]


def run(model: Any, inputs: Tensors, *, shifted: bool) -> Tensors:
    """As its language model does when it trains, or generates."""
    logits = inputs["logits"]
    temperature = model(logits - logits.max(-1, keepdim=True).values if shifted else logits)
    return {"temperature": temperature} | ({"cooled": logits / temperature} if logits.shape[-1] < 100 else {})  # the others fill no file


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    authors = importlib.import_module("tempnet")
    for variant, shifted in {"training": False, "generation": True}.items():
        for size, (vocabulary, hidden, shapes) in {"small": (40, 12, [(1, 1), (2, 5)]), "whole": (32000, 256, [(1, 7)])}.items():
            write(
                "layer/tempnet", f"{variant}_{size}", authors.TempNet(vocabulary, hidden).float(),
                [{"logits": Draw((*shape, vocabulary), low=-9, high=12)} for shape in shapes],
                lambda model, inputs, shifted=shifted: run(model, inputs, shifted=shifted),
                reference="github.com/zhqiu/TempNet", variant=variant, small=size == "small", scales=scales(hidden),
            )  # fmt: skip


if __name__ == "__main__":
    main()
