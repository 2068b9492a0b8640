"""The authors' LATTE, two layers on a graph of three types.

Needs torch, torch_geometric, and `--source`, a checkout of github.com/JonnyTran/LATTE. Their code joins relations by sparse products
between its layers; here the joined edges are inputs of the second layer, as they are of our spec.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from types import ModuleType

import torch
import torch_geometric
from fill import Draw, Scale
from making import Tensors, write
from torch import nn
from torch_geometric.nn import MessagePassing

parser = ArgumentParser(description=__doc__)
parser.add_argument("--source", required=True)
sys.path.insert(0, parser.parse_args().source)
for name, holds in {
    "pandas": "",
    "pytorch_lightning": "LightningModule",
    "torch_sparse": "",
    "torch_sparse.tensor": "SparseTensor",
}.items():
    sys.modules[name] = ModuleType(name)  # for training, tables of weights, and the join
    if holds:
        setattr(sys.modules[name], holds, type(holds, (), {}))
from conv import LATTE, LATTEConv  # noqa: E402


def propagate(self: LATTEConv, edge_index: torch.Tensor, *, size: tuple[int, int], **values: object) -> torch.Tensor:
    """Since torch_geometric 2, what is sent stands second in a pair where edges lead from targets to sources; it was first in 1.6."""
    swapped = {k: v[::-1] if isinstance(v, tuple) else v for k, v in values.items()}
    return MessagePassing.propagate(self, edge_index, size=size[::-1], **swapped)


LATTEConv.save_relation_weights = lambda *_: None
LATTEConv.propagate = propagate
RELATIONS = {"md": "01", "dm": "10", "ma": "02", "am": "20"}
JOINED = {"mdm": "010", "dmd": "101", "dma": "102", "mam": "020", "amd": "201", "ama": "202"}


class Net(nn.Module):
    """Their embedder and classifier."""

    def __init__(self, features: int, dim: int, nodes: tuple[int, ...], layers: int, attended: bool) -> None:
        super().__init__()
        types = [str(i) for i in range(len(nodes))]
        built = LATTE(
            n_layers=layers, embedding_dim=dim, in_channels_dict=dict.fromkeys(types, features),
            num_nodes_dict=dict(zip(types, nodes, strict=True)), metapaths=[tuple(r) for r in RELATIONS.values()],
            attn_heads=2, use_proximity=False, layer_pooling="concat",
            hparams=Namespace(edge_threshold=0.5, batchnorm=False, layernorm=False, dropout=0.2, nb_cls_dense_size=0),
        )  # fmt: skip
        assert layers == 1 or built.layers[1].metapaths == [tuple(r) for r in JOINED.values()]
        self.attended = attended
        self.feature_projection, self.layers = built.feature_projection, built.layers
        self.fc_classifier = nn.Sequential()
        self.fc_classifier.add_module("linear", nn.Linear(layers * dim, 3))

    def forward(self, **inputs: torch.Tensor) -> Tensors:
        features = {str(i): inputs[name] for i, name in enumerate(("movie", "director", "actor"))}
        which = {t: torch.arange(len(x)) for t, x in features.items()}
        h = {t: torch.relu(self.feature_projection[t](x)) for t, x in features.items()}
        outputs, attention = [], {}
        for conv, relations in zip(self.layers, (RELATIONS, JOINED), strict=False):
            edges = {tuple(r): inputs[name] for name, r in relations.items()}
            h, _, found = conv(x_l=h, x_r=h, edge_index_dict=edges, global_node_idx=which, return_attention_weights=True)
            attention |= {f"attention_{name}": found[tuple(r)][1] for name, r in relations.items()} if not outputs and self.attended else {}
            outputs.append(h)
        movies, directors, actors = (torch.cat([layer[t] for layer in outputs], dim=1) for t in "012")
        return {"movies": movies, "directors": directors, "actors": actors, "logits": self.fc_classifier(movies), **attention}


def main() -> None:
    for variant, layers, attended in (("imdb_1", 1, False), ("imdb_2", 2, False), ("imdb_2_attended", 2, True)):
        for size, features, dim in (("small", 5, 6), ("whole", 1256, 128)):
            points = []
            for nodes, edges in (((6, 4, 5), 9), ((9, 7, 3), 14)):
                sizes = dict(zip(("movie", "director", "actor"), nodes, strict=True))
                point = {name: Draw((n, features)) for name, n in sizes.items()}
                relations = RELATIONS | (JOINED if layers == 2 else {})
                point |= {name: Draw((2, edges + i), "int64", 0, min(nodes)) for i, name in enumerate(relations)}
                points.append(point)
            write(
                "graph/latte", f"{variant}_{size}", Net(features, dim, nodes, layers, attended), points,
                lambda model, inputs: model(**inputs), variant=variant, small=size == "small", sweep=size == "whole",
                reference=f"the authors' code over torch_geometric {torch_geometric.__version__}",
                scales=(Scale("*.attn_?", 0, 2), Scale("*.alpha_activation", 1.5, 0.5)),
            )  # fmt: skip


if __name__ == "__main__":
    main()
