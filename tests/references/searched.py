"""What the authors of equivariant polynomials found with their search, for scripts that have put `--source`, their checkout, on the path.

Their search reads lists of connected graphs from the web; here networkx's atlas is such a list.
"""

from __future__ import annotations

import sys
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import networkx
import torch

sys.modules["GPUtil"] = ModuleType("GPUtil")  # to choose a device
import dataset  # noqa: E402
import equivariant_polynomials as search  # noqa: E402
from utils import compute_5_poly, compute_6_poly  # noqa: E402

Terms = dict[int, list[str]]


def polynomials(edges: int) -> list[str]:
    """Those that matrix products cannot compute, as their search writes them."""
    graphs = [g for g in networkx.graph_atlas_g() if g.number_of_edges() == edges and networkx.is_connected(g)]
    found: list[Any] = []
    lists, kept = patch.object(networkx, "read_graph6", lambda _: graphs), patch.object(search.np, "save", lambda _, x: found.extend(x))
    with TemporaryDirectory() as folder, lists, kept:
        search.get_ppgn_additional_subgraphs(folder, edges)
    return [search.string_poly_from_adj(a, c).replace(" ", "") for a, colours in found for c in colours]


def of_molecules() -> Terms:
    """By degree; no molecule holds a clique of four."""
    return {5: polynomials(5), 6: [t for t in polynomials(6) if not t.endswith("z") and len(set(t.split("->")[0])) != 6]}


def computed(adjacency: torch.Tensor, terms: Terms) -> list[torch.Tensor]:
    """Of an adjacency [1, n, n], each degree's [count, n, n]."""
    return [compute(adjacency, terms[d]) for d, compute in ((5, compute_5_poly), (6, compute_6_poly)) if terms[d]]


def molecule(graph: torch.Tensor, given: list[torch.Tensor]) -> torch.Tensor:
    """What their dataset makes of a molecule [features, n, n], the adjacency first: what is given, in their scale, then all that."""
    cfg = SimpleNamespace(use_poly_data=bool(given), normalize_features=True)
    molecules = SimpleNamespace(poly_data=[torch.cat(given)] if given else [], cfg=cfg)
    data = SimpleNamespace(edge_index=graph[:1], edge_attr=graph[1:], x=graph[0, 0])
    with patch.object(dataset, "to_dense_adj", lambda adjacency, edge_attr=None: adjacency if edge_attr is None else edge_attr):
        return dataset.ZincDataset.pyg_to_tensor(molecules, data, 0)[:-1]  # features of nodes are among ours of edges
