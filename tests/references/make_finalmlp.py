"""FuxiCTR's FinalMLP and DualMLP. Needs torch, scikit-learn, pandas, and `--source`, a checkout of github.com/reczoo/FuxiCTR.

The sizes of each data set are those of the logs under ranking/ctr/FinalMLP/results in github.com/reczoo/RecZoo.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any

from fill import Draw, Scale
from making import Tensors, write

parser = ArgumentParser(description=__doc__)
parser.add_argument("--source", required=True)
source = parser.parse_args().source
sys.path[:0] = [source, f"{source}/model_zoo/FinalMLP"]
for name in ("h5py", "polars", "keras_preprocessing", "keras_preprocessing.sequence"):  # its readers of data sets, not called here
    sys.modules.setdefault(name, ModuleType(name))
sys.modules["keras_preprocessing.sequence"].pad_sequences = None
from src import DualMLP, FinalMLP  # noqa: E402

FRAPPE = [956, 4084, 9, 9, 4, 5, 4, 11, 82, 235]
MOVIELENS = [16977, 23606, 49659]
AVAZU = [9, 9, 3480, 4271, 26, 4864, 305, 33, 228186, 1048285, 6515, 6, 6, 1940, 10, 11, 349, 6, 61, 171, 52, 26]
CRITEO = [
    1462, 560, 413424, 248543, 307, 23, 12192, 635, 5, 54712, 5350, 409749, 3182,
    29, 12500, 365811, 12, 4934, 2096, 6, 397981, 20, 17, 88608, 98, 64073,
]  # fmt: skip
NUMBERS = [str(i) for i in range(13)]


def settings(hidden1: list[int], hidden2: list[int], dropout1: float, dropout2: float, norm: bool = True) -> dict[str, Any]:
    return {
        "mlp1_hidden_units": hidden1, "mlp2_hidden_units": hidden2, "mlp1_dropout": dropout1, "mlp2_dropout": dropout2,
        "mlp1_batch_norm": norm, "mlp2_batch_norm": norm,
    }  # fmt: skip


def gated(hidden: int, heads: int, context1: list[str], context2: list[str]) -> dict[str, Any]:
    return {"fs_hidden_units": [hidden], "num_heads": heads, "fs1_context": context1, "fs2_context": context2}


BASE, USER_ITEM = settings([400], [100], 0.4, 0.4), gated(400, 5, ["0"], ["1"])
THREE = [400, 400, 400]
VARIANTS: dict[str, tuple[Any, int, list[int], dict[str, Any]]] = {
    "finalmlp_frappe": (FinalMLP, 0, FRAPPE, BASE | USER_ITEM),
    "finalmlp_movielens": (FinalMLP, 0, MOVIELENS, settings([400], [800], 0.4, 0.2) | gated(800, 10, [], [])),
    "finalmlp_avazu": (FinalMLP, 0, AVAZU, settings(THREE, [800], 0.3, 0.3) | gated(800, 10, [], [])),
    "finalmlp_criteo": (FinalMLP, 13, CRITEO, settings(THREE, [1000], 0.2, 0.3) | gated(800, 200, NUMBERS, ["18"])),
    "dualmlp_frappe": (DualMLP, 0, FRAPPE, settings(THREE, [500, 500, 500], 0.2, 0.3)),
    "dualmlp_movielens": (DualMLP, 0, MOVIELENS, settings(THREE, [400], 0.4, 0.2)),
    "dualmlp_avazu": (DualMLP, 0, AVAZU, settings(THREE, [400], 0.3, 0.3)),
    "dualmlp_criteo": (DualMLP, 13, CRITEO, settings(THREE, THREE, 0.2, 0.2)),
    "no_selection": (FinalMLP, 0, FRAPPE, BASE | USER_ITEM | {"use_fs": False}),
    "no_norm": (FinalMLP, 0, FRAPPE, settings([400], [100], 0, 0, norm=False) | USER_ITEM),
}
SMALL = {"mlp1_hidden_units": [12, 8], "mlp2_hidden_units": [10, 8, 6], "fs_hidden_units": [6, 5], "num_heads": 2, "embedding_dim": 4}
FEW = [7, 5, 4, 3, 2, 2]
TRAINING = {
    "optimizer": "adam", "loss": "binary_crossentropy", "task": "binary_classification", "metrics": [], "verbose": 0,
    "mlp1_hidden_activations": "relu", "mlp2_hidden_activations": "relu",
}  # fmt: skip

# Gates without context see one vector only: their hidden units must be alive there.
SCALES = (Scale("fs_module.*_ctx_bias", 0.5, 0.5), Scale("fs_module.*_gate.mlp.*.bias", 0.4, 0.4))
WIDER = Scale("*embedding_layers.*", 0, 2)  # of embeddings of four features, gates see too little


def run(model: Any, inputs: Tensors) -> Tensors:
    columns = [*inputs["values"].T] if "values" in inputs else []
    columns += [*inputs["ids"].T]
    return {"probability": model({**{str(i): column for i, column in enumerate(columns)}, "label": inputs["ids"]})["y_pred"]}


def main() -> None:
    for variant, (build, numbers, counts, sizes) in VARIANTS.items():
        for small in (True, False):
            ids = FEW if small else counts
            types = [{"type": "numeric"}] * numbers + [{"type": "categorical", "vocab_size": n, "padding_idx": 0} for n in ids]
            features = {str(i): {**kind, "source": ""} for i, kind in enumerate(types)}
            with TemporaryDirectory() as folder:
                fields = SimpleNamespace(
                    features=features, num_fields=len(features), labels=["label"], data_dir=folder, dataset_id="fields"
                )
                model = build(fields, **{**TRAINING, "embedding_dim": 10, **sizes, **(SMALL if small else {})}, model_root=folder)
            points = [{"ids": Draw((n, len(ids)), "int64", 0, ids)} for n in (4, 7)]
            if numbers:
                points = [{"values": Draw((n, numbers)), **point} for n, point in zip((4, 7), points, strict=True)]
            write(
                "tabular/finalmlp", f"{variant}{'_small' if small else ''}", model, points, run,
                reference="FuxiCTR", scales=(*SCALES, WIDER) if small else SCALES, variant=variant, small=small, sweep=not small,
            )  # fmt: skip


if __name__ == "__main__":
    main()
