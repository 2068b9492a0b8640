"""FuxiCTR's FinalMLP and DualMLP. Needs torch, scikit-learn, pandas, and `--source`, a checkout of github.com/reczoo/FuxiCTR."""

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

WHOLE = {
    "counts": [100000, 100, 14, 3, 8, 4, 4, 3, 5, 50000, 5000, 40000, 20000, 10000], "embedding_dim": 16,
    "mlp1_hidden_units": [1024, 512], "mlp2_hidden_units": [1024, 512, 256], "fs_hidden_units": [1024, 512],
}  # fmt: skip
DUAL = {"mlp1_hidden_units": [64, 32], "mlp2_hidden_units": [64, 64, 64]}
SMALL = {
    "counts": [7, 5, 4, 3, 2, 2, 2, 2, 2, 6, 5], "embedding_dim": 4,
    "mlp1_hidden_units": [12, 8], "mlp2_hidden_units": [10, 8, 6], "fs_hidden_units": [6, 5],
}  # fmt: skip
VARIANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "finalmlp": (FinalMLP, {"num_heads": 2}),
    "finalmlp_contexts": (FinalMLP, {"num_heads": 2, "fs1_context": ["0"], "fs2_context": ["9", "10"]}),
    "finalmlp_no_selection": (FinalMLP, {"num_heads": 2, "use_fs": False}),
    "dualmlp": (DualMLP, {}),
}
TRAINING = {
    "optimizer": "adam", "loss": "binary_crossentropy", "task": "binary_classification", "metrics": [], "verbose": 0,
    "mlp1_hidden_activations": "relu", "mlp2_hidden_activations": "relu",
}  # fmt: skip

# Gates without context see one vector only: their hidden units must be alive there.
SCALES = (Scale("fs_module.*_ctx_bias", 0.5, 0.5), Scale("fs_module.*_gate.mlp.*.bias", 0.4, 0.4))


def run(model: Any, inputs: Tensors) -> Tensors:
    fields = {str(i): inputs["ids"][:, i] for i in range(inputs["ids"].shape[1])}
    return {"probability": model({**fields, "label": inputs["ids"]})["y_pred"]}


def main() -> None:
    for variant, (build, settings) in VARIANTS.items():
        for size in ("small", "whole"):
            sizes = dict(SMALL if size == "small" else WHOLE | (DUAL if build is DualMLP else {}))
            counts = sizes.pop("counts")
            features = {str(i): {"type": "categorical", "vocab_size": n, "source": ""} for i, n in enumerate(counts)}
            with TemporaryDirectory() as folder:
                fields = SimpleNamespace(features=features, num_fields=len(counts), labels=["label"], data_dir=folder, dataset_id="fields")
                model = build(fields, **{**TRAINING, **sizes, **settings}, model_root=folder)
            points = [{"ids": Draw((n, len(counts)), "int64", 0, min(counts))} for n in (4, 7)]
            write(
                "tabular/finalmlp", f"{variant}_{size}", model, points, run,
                reference="FuxiCTR", scales=SCALES, variant=variant, small=size == "small", sweep=size == "whole",
            )  # fmt: skip


if __name__ == "__main__":
    main()
