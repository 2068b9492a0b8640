"""GatedGCN of a benchmark of graph networks, given polynomials as its code gives positions; their authors' code computes and scales them.

Needs `pip install torch torch_geometric networkx`, `--network`, a checkout of github.com/graphdeeplearning/benchmarking-gnns, and
`--source`, one of github.com/omri1348/Equivariant-Polynomaials, which holds the polynomials but no network on edges.
Graphs are drawn: with edges in one direction, from a node to itself, and twice.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from types import ModuleType

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import nn

parser = ArgumentParser(description=__doc__)
parser.add_argument("--network", required=True)
parser.add_argument("--source", required=True)
arguments = parser.parse_args()
sys.path[:0] = [arguments.source, arguments.network, f"{arguments.network}/nets/molecules_graph_regression"]


class Graph:
    """What their layer asks of dgl, which runs with older versions of torch alone: `u` is an edge's source, `v` its target."""

    def __init__(self, edges: torch.Tensor) -> None:
        self.to, self.source = edges
        self.ndata: dict[str, torch.Tensor] = {}
        self.edata: dict[str, torch.Tensor] = {}

    def apply_edges(self, message: Callable[[Graph], None]) -> None:
        message(self)

    def update_all(self, message: Callable[[Graph], None], reduce: Callable[[Graph], None]) -> None:
        message(self)
        reduce(self)


dgl, function = ModuleType("dgl"), ModuleType("dgl.function")
dgl.function = function
function.u_add_v = lambda a, b, out: lambda g: g.edata.update({out: g.ndata[a][g.source] + g.ndata[b][g.to]})
function.u_mul_e = lambda a, b, out: lambda g: g.edata.update({out: g.ndata[a][g.source] * g.edata[b]})
function.copy_e = lambda a, out: lambda g: g.edata.update({out: g.edata[a]})
function.sum = lambda a, out: lambda g: g.ndata.update({out: torch.zeros_like(g.ndata["h"]).index_add(0, g.to, g.edata[a])})
sys.modules.update({"dgl": dgl, "dgl.function": function})
from gated_gcn_net import GatedGCNNet  # noqa: E402
from searched import computed, molecule, of_molecules  # noqa: E402

TERMS = of_molecules()
POWERS = range(2, 7)
COUNT = len(POWERS) + sum(len(terms) for terms in TERMS.values())
WHOLE = {  # their configs/molecules_graph_regression_GatedGCN_ZINC_500k.json
    "num_atom_type": 28, "num_bond_type": 4, "L": 16, "hidden_dim": 78, "out_dim": 78, "residual": True, "edge_feat": True,
    "readout": "mean", "in_feat_dropout": 0.0, "dropout": 0.0, "batch_norm": True, "device": "cpu",
}  # fmt: skip
SCALES = (  # a readout that hears, and layers that do not add up to thousands
    Scale("MLP_layer.*.weight", 0.1, 0.2),
    Scale("MLP_layer.*.bias", 1, 0.2),
    Scale("*.running_var", 40, 10),
)
SMALL = {"L": 2, "hidden_dim": 12, "out_dim": 12}


class Net(GatedGCNNet):
    """Their network on one graph, with a second linear for what edges are given."""

    def __init__(self, params: dict[str, object], polynomials: bool) -> None:
        super().__init__({**params, "pos_enc": polynomials, "pos_enc_dim": COUNT})
        if polynomials:
            self.embedding_pos_enc_e = nn.Linear(COUNT, params["hidden_dim"])

    def forward(self, inputs: Tensors) -> Tensors:
        h, e, edges = self.embedding_h(inputs["atom"]), self.embedding_e(inputs["bond"]), inputs["edges"]
        if self.pos_enc:
            given = polynomials(edges, len(h))
            h = h + self.embedding_pos_enc(given.diagonal(dim1=1, dim2=2).T)
            e = e + self.embedding_pos_enc_e(given[:, edges[1], edges[0]].T)
        for conv in self.layers:
            h, e = conv(Graph(edges), h, e)
        return {"y": self.MLP_layer(h.mean(0, keepdim=True)), "node_features": h, "edge_features": e}


def polynomials(edges: torch.Tensor, nodes: int) -> torch.Tensor:
    """[COUNT, nodes, nodes], from sources to targets; their normalisation takes powers like all others."""
    adjacency = torch.zeros(1, nodes, nodes).index_put((torch.tensor(0), edges[1], edges[0]), torch.ones(edges.shape[1]), accumulate=True)
    powers = torch.cat([torch.matrix_power(adjacency, k) for k in POWERS])
    return molecule(adjacency, [powers, *computed(adjacency, TERMS)])[:COUNT]


def main() -> None:
    for variant, pairs in (("zinc", False), ("zinc_polynomials", True)):
        for small in (True, False):
            points = [
                {"atom": Draw((v,), "int64", 0, 28), "bond": Draw((e,), "int64", 0, 4), "edges": Draw((2, e), "int64", 0, v)}
                for v, e in ((5, 14), (9, 24))
            ]
            write(
                "graph/gated_gcn", f"{variant}_{'small' if small else 'whole'}", Net({**WHOLE, **(SMALL if small else {})}, pairs), points,
                lambda model, inputs: model(inputs), reference="benchmarking-gnns", variant=variant, small=small, sweep=not small,
                scales=SCALES,
            )  # fmt: skip


if __name__ == "__main__":
    main()
