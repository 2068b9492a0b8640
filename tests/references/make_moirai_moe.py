"""Write what the authors' Moirai-MoE computes. Run by hand, given a checkout of github.com/SalesforceAIResearch/uni2ts:

pip install einops huggingface_hub && python tests/references/make_moirai_moe.py --source PATH

Their package imports much that the network does not need: it is loaded without that. Its centres, which they read from a checkpoint, are
filled as weights are.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch.distributions import TransformedDistribution

SPEC, REFERENCE = "series/moirai_moe", "github.com/SalesforceAIResearch/uni2ts"
OURS = {
    "t_df": (0, "df"), "t_loc": (0, "loc"), "t_scale": (0, "scale"), "normal_loc": (1, "loc"), "binomial_count": (2, "total_count"),
    "binomial_logits": (2, "logits"), "log_normal_loc": (3, "loc"), "log_normal_scale": (3, "scale"),
}  # fmt: skip


def authors_network(source: Path) -> Any:
    """Their module and its four distributions."""
    sys.path.insert(0, str(source / "src"))
    stand_in("jaxtyping", **dict.fromkeys(("Bool", "Float", "Int", "Num", "PyTree", "AbstractDtype"), Annotation))
    stand_in("hydra")
    stand_in("hydra.utils", instantiate=None)
    for name in ("uni2ts.model", "uni2ts.model.moirai_moe"):
        stand_in(name).__path__ = [str(source.joinpath("src", *name.split(".")))]
    d = importlib.import_module("uni2ts.distribution")
    kinds = [d.StudentTOutput(), d.NormalFixedScaleOutput(), d.NegativeBinomialOutput(), d.LogNormalOutput()]
    return importlib.import_module("uni2ts.model.moirai_moe.module").MoiraiMoEModule, d.MixtureOutput(kinds)


class Annotation:
    """Of jaxtyping, whose trees need jax."""

    def __class_getitem__(cls, _: Any) -> Any:
        return cls


def stand_in(name: str, **members: Any) -> ModuleType:
    sys.modules[name] = module = ModuleType(name)
    module.__dict__.update(members)
    return module


def run(model: Any, inputs: Tensors) -> Tensors:
    """The parameters of the distributions, by our names."""
    tensors = {k: v != 0 if k.endswith("mask") else v for k, v in inputs.items()}
    made = model(**tensors, patch_size=torch.full_like(tensors["time_id"], tensors["target"].shape[-1]))
    assert isinstance(made, TransformedDistribution)
    mixture = made.base_dist
    found = {name: getattr(mixture.components[i], attribute) for name, (i, attribute) in OURS.items()}
    return found | {"shares": mixture.weights.probs, "units": torch.cat([made.loc, made.scale], -1)}


def point(rows: int, length: int, patch: int) -> dict[str, Draw]:
    """Series that start, stop and stand beside each other at random."""
    ids = (rows, length)
    return {
        "target": Draw((*ids, patch), low=-3, high=5), "observed_mask": Draw((*ids, patch), "bool", 0, 6),
        "sample_id": Draw(ids, "int64", 0, 3),
        "time_id": Draw(ids, "int64", 0, 9), "variate_id": Draw(ids, "int64", 0, 2), "prediction_mask": Draw(ids, "bool", 0, 2),
    }  # fmt: skip


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    network, distributions = authors_network(Path(parser.parse_args().source))
    sizes: dict[str, Any] = {"d_model": 128, "d_ff": 24, "num_layers": 2, "patch_sizes": (4,), "max_seq_len": 512}
    for variant in ("small", "base"):
        model = network(distributions, **sizes, attn_dropout_p=0.0, dropout_p=0.0).float()
        for layer in model.encoder.layers:  # of 32 experts some would be nobody's
            layer.ffn = type(layer.ffn)(6, 2, in_dim=128, hidden_dim=24, bias=False)
        model.encoder.centroid = torch.zeros(2, 6, 128)
        config = {"dim": 128}
        scales = [Scale("*centroid", 0, 0.1)]
        write(
            SPEC, variant, model, [point(1, 1, 4), point(3, 40, 4), point(2, 9, 4)], run,
            reference=REFERENCE, variant=variant, small=True, config=config, scales=scales,
        )  # fmt: skip
