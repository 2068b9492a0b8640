"""The authors' PPGN, on what their code makes of a graph, with the polynomials that their own search finds.

Needs `pip install torch torch_geometric networkx`, and `--source`, a checkout of github.com/omri1348/Equivariant-Polynomaials.
Adjacencies and features are drawn: weighted, and without the absent nodes. Their search reads lists of connected graphs from
the web; here networkx's atlas is such a list.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import networkx
import torch
from fill import Draw, Scale
from making import Tensors, write

parser = ArgumentParser(description=__doc__)
parser.add_argument("--source", required=True)
source = parser.parse_args().source
sys.path[:0] = [source, f"{source}/models"]
sys.modules["GPUtil"] = ModuleType("GPUtil")  # to choose a device
import dataset  # noqa: E402
import equivariant_polynomials as search  # noqa: E402
from ppgn import PPGN  # noqa: E402
from utils import compute_5_poly, compute_6_poly  # noqa: E402

VARIANTS = {
    "zinc": {"features": 3, "depth": 8, "hidden_dim": 95, "suffix_dim": 95, "out_dim": 1},
    "zinc_degree_5": {"features": 3, "depth": 8, "hidden_dim": 95, "suffix_dim": 95, "out_dim": 1},
    "zinc_plain": {"features": 3, "depth": 8, "hidden_dim": 95, "suffix_dim": 95, "out_dim": 1},
    "alchemy": {"features": 11, "depth": 6, "hidden_dim": 110, "suffix_dim": 95, "out_dim": 12},
    "strongly_regular": {"features": 1, "depth": 4, "hidden_dim": 75, "suffix_dim": 55, "out_dim": 16},
}
CALM = (Scale("*.convs.?.weight", 0, 0.06),)  # four products one upon the other, of features that nothing normalises
SMALL = {"depth": 2, "hidden_dim": 5, "suffix_dim": 4}


def polynomials(edges: int) -> list[str]:
    """Those that matrix products cannot compute, as their search writes them."""
    graphs = [g for g in networkx.graph_atlas_g() if g.number_of_edges() == edges and networkx.is_connected(g)]
    found: list[Any] = []
    lists, kept = patch.object(networkx, "read_graph6", lambda _: graphs), patch.object(search.np, "save", lambda _, x: found.extend(x))
    with TemporaryDirectory() as folder, lists, kept:
        search.get_ppgn_additional_subgraphs(folder, edges)
    return [search.string_poly_from_adj(a, c).replace(" ", "") for a, colours in found for c in colours]


def tensor(graph: torch.Tensor, terms: dict[int, list[str]], normalize: bool) -> torch.Tensor:
    """What their datasets make of a graph [features, n, n]. Of strongly regular ones that is one line, which comes with reading files."""
    adjacency = graph[:1]
    given = [compute(adjacency, terms[d]) for d, compute in ((5, compute_5_poly), (6, compute_6_poly)) if terms[d]]
    if not normalize:
        return torch.cat([adjacency, *given])
    molecules = SimpleNamespace(
        poly_data=[torch.cat(given)] if given else [], cfg=SimpleNamespace(use_poly_data=bool(given), normalize_features=True)
    )
    data = SimpleNamespace(edge_index=adjacency, edge_attr=graph[1:], x=graph[0, 0])
    with patch.object(dataset, "to_dense_adj", lambda adjacency, edge_attr=None: adjacency if edge_attr is None else edge_attr):
        return dataset.ZincDataset.pyg_to_tensor(molecules, data, 0)[:-1]  # features of nodes are among ours of edges


def run(model: PPGN, inputs: Tensors) -> Tensors:
    mask = inputs["mask"].float()
    pairs = mask[:, None, :, None] * mask[:, None, None, :]
    graph = inputs["graph"] * pairs
    x = torch.stack([tensor(g, model.terms, model.molecules) for g in graph])
    return {"y": model(x, pairs, mask.sum(1, keepdim=True)).reshape(len(graph), -1)}


def main() -> None:
    five, six = polynomials(5), polynomials(6)
    pairs = [term for term in six if not term.endswith("z")]
    cliques = [term for term in six if len(set(term.split("->")[0])) == 6]  # k, four nodes and the comma
    for variant, settings in VARIANTS.items():
        for small in (True, False):
            config = SimpleNamespace(**{**settings, **(SMALL if small else {})})
            molecules = variant != "strongly_regular"
            terms = {5: [] if variant == "zinc_plain" else five, 6: six if not molecules else [t for t in pairs if t not in cliques]}
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
