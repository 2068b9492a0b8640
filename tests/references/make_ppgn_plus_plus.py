"""The authors' PPGN with the polynomials that their own search lists. Needs torch, and `--source`, a checkout of

github.com/omri1348/Equivariant-Polynomaials. Graphs are drawn here: features of a random symmetric adjacency, without the absent nodes.
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
sys.path.insert(0, f"{parser.parse_args().source}/models")
from ppgn import PPGN  # noqa: E402

CLIQUE = "kab,kac,kad,kbc,kbd,kcd"
POLYNOMIALS = (  # what equivariant_polynomials.py writes for 5 and 6 edges
    "kab,kac,kad,kbc,kcd->kbd", "kab,kbc,kbd,kbe,kcd,kce->kde", "kab,kbd,kbe,kcd,kce,kde->kac", "kab,kbd,kbe,kcd,kce,kde->kac",
    "kab,kbd,kbe,kcd,kce,kde->kbc", "kab,kbd,kbe,kcd,kce,kde->kbc", "kab,kad,kae,kbc,kcd,kde->kbe", "kab,kad,kae,kbc,kcd,kde->kbe",
    "kac,kad,kae,kbc,kbd,kbe->kcd",
)  # fmt: skip
VARIANTS = {
    "zinc": {"features": 3, "depth": 8, "hidden_dim": 95, "suffix_dim": 95, "out_dim": 1},
    "alchemy": {"features": 11, "depth": 6, "hidden_dim": 110, "suffix_dim": 95, "out_dim": 12},
    "strongly_regular": {"features": 1, "depth": 4, "hidden_dim": 75, "suffix_dim": 55, "out_dim": 16},
}
CALM = (Scale("*.convs.?.weight", 0, 0.06),)  # four products one upon the other, of features that nothing normalises
SMALL = {"depth": 2, "hidden_dim": 5, "suffix_dim": 4}


def polynomials(a: torch.Tensor, molecules: bool) -> torch.Tensor:
    """[k, n, n] to [k, count, n, n], as utils.py and dataset.py make them."""
    found = [torch.einsum(term, *[a] * term.split("->")[0].count("k")) for term in POLYNOMIALS]
    if not molecules:
        nodes, graph = torch.einsum(f"{CLIQUE}->ka", *[a] * 6), torch.einsum(f"{CLIQUE}->k", *[a] * 6)
        found += [torch.einsum(f"{CLIQUE}->kab", *[a] * 6), torch.diag_embed(nodes), graph[:, None, None].expand_as(a)]
    x = torch.stack(found, dim=1)
    for dims in ((1,), (2, 3)) if molecules else ():
        norm = x.norm(dim=dims, keepdim=True)
        x = x / torch.where(norm > 0, norm, 1)
    return x


def run(model: PPGN, inputs: Tensors) -> Tensors:
    mask = inputs["mask"].float()
    pairs = mask[:, None, :, None] * mask[:, None, None, :]
    graph = inputs["graph"] * pairs
    x = torch.cat([polynomials(graph[:, 0], model.molecules), graph], dim=1)
    return {"y": model(x, pairs, mask.sum(1, keepdim=True)).reshape(len(graph), -1)}


def main() -> None:
    for variant, settings in VARIANTS.items():
        for small in (True, False):
            config = SimpleNamespace(**{**settings, **(SMALL if small else {})})
            molecules = variant != "strongly_regular"
            config.input_dim = config.features + (9 if molecules else 12)
            model = PPGN(config)
            model.molecules = molecules
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
