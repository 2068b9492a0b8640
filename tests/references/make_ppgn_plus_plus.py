"""The authors' PPGN, on what their code makes of a graph, with the polynomials that their own search finds.

Needs `pip install torch torch_geometric networkx`, and `--source`, a checkout of github.com/omri1348/Equivariant-Polynomaials.
Adjacencies and features are drawn: weighted, and without the absent nodes.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from types import SimpleNamespace

import torch
from fill import Draw, Scale
from making import Tensors, write

parser = ArgumentParser(description=__doc__)
parser.add_argument("--source", required=True)
source = parser.parse_args().source
sys.path[:0] = [source, f"{source}/models"]
from ppgn import PPGN  # noqa: E402
from searched import Terms, computed, molecule, of_molecules, polynomials  # noqa: E402

VARIANTS = {
    "zinc": {"features": 3, "depth": 8, "hidden_dim": 95, "suffix_dim": 95, "out_dim": 1},
    "zinc_degree_5": {"features": 3, "depth": 8, "hidden_dim": 95, "suffix_dim": 95, "out_dim": 1},
    "zinc_plain": {"features": 3, "depth": 8, "hidden_dim": 95, "suffix_dim": 95, "out_dim": 1},
    "alchemy": {"features": 11, "depth": 6, "hidden_dim": 110, "suffix_dim": 95, "out_dim": 12},
    "strongly_regular": {"features": 1, "depth": 4, "hidden_dim": 75, "suffix_dim": 55, "out_dim": 16},
}
CALM = (Scale("*.convs.?.weight", 0, 0.06),)  # four products one upon the other, of features that nothing normalises
SMALL = {"depth": 2, "hidden_dim": 5, "suffix_dim": 4}


def tensor(graph: torch.Tensor, terms: Terms, molecules: bool) -> torch.Tensor:
    """What their datasets make of a graph [features, n, n]. Of strongly regular ones that is one line, which comes with reading files."""
    given = computed(graph[:1], terms)
    return molecule(graph, given) if molecules else torch.cat([graph[:1], *given])


def run(model: PPGN, inputs: Tensors) -> Tensors:
    mask = inputs["mask"].float()
    pairs = mask[:, None, :, None] * mask[:, None, None, :]
    graph = inputs["graph"] * pairs
    x = torch.stack([tensor(g, model.terms, model.molecules) for g in graph])
    return {"y": model(x, pairs, mask.sum(1, keepdim=True)).reshape(len(graph), -1)}


def main() -> None:
    few, all_terms = of_molecules(), {d: polynomials(d) for d in (5, 6)}
    for variant, settings in VARIANTS.items():
        for small in (True, False):
            config = SimpleNamespace(**{**settings, **(SMALL if small else {})})
            molecules = variant != "strongly_regular"
            terms = dict(few if molecules else all_terms)
            terms[5] = [] if variant == "zinc_plain" else terms[5]
            terms[6] = [] if variant.startswith("zinc_") else terms[6]
            config.input_dim = config.features + len(terms[5]) + len(terms[6])
            model = PPGN(config)
            model.molecules, model.terms = molecules, terms
            points = [
                {
                    "graph": Draw((n, config.features, v, v), low=-1 if molecules else 0, high=1.5 if molecules else 0.6),
                    "mask": Draw((n, v), "bool", 0, 2),
                }
                for n, v in ((2, 5), (3, 7))
            ]
            write(
                "graph/ppgn_plus_plus", f"{variant}_{'small' if small else 'whole'}", model, points, run,
                reference="the authors' code", variant=variant, small=small, sweep=not small,
                scales=(Scale("*.bias", 0.1, 0.1), *(() if small or molecules else CALM)),
            )  # fmt: skip


if __name__ == "__main__":
    main()
