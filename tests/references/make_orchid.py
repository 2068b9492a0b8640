"""Write what the authors' Orchid computes. Run by hand, from a clone of github.com/Karami-m/orchid:

pip install torch einops easydict opt_einsum scipy && python tests/references/make_orchid.py --source orchid

A kernel from a padded text has one dimension too many in the code, so that every text of a batch meets the kernel of every other: of
those the ones of a text and its own kernel are taken. The sines of a filter share one parameter, which is kept under its first key.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import nn

SCALES = [
    Scale("*.freq", 1.0, 0.3),
    Scale("*.pos_emb.z", 0.0, 1.0),
    Scale("*.bias", 0.0, 0.5),
]


def layer(
    transform: str = "fft", kernel: str = "absfreq", length: int = 128, *, causal: bool = False, edges: str = "zeros", **settings: Any
) -> nn.Module:
    from orchid_standalone.orchid_standalone import OrchidOperator, conv_kernel_cfg
    from orchid_standalone.utils.dxt import DCTX

    dxt = (transform, DCTX(transform.split("-")[0], length, "ortho")) if transform.startswith("dctx") else transform
    cfg = type(conv_kernel_cfg)({**conv_kernel_cfg, "type": kernel, "padding_mode": edges})
    model: nn.Module = OrchidOperator(dxt=dxt, conv_kernel=cfg, l_max=length, causal=causal, **settings)
    return model


def run(model: nn.Module, inputs: Tensors) -> Tensors:
    y = model(inputs["tokens"])
    return {"mixed": y if y.ndim == 3 else torch.stack([y[i, i] for i in range(len(y))])}


def points(dim: int, *shapes: tuple[int, int]) -> list[dict[str, Draw]]:
    return [{"tokens": Draw((n, size, dim))} for n, size in shapes]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    own = ["*.pos_emb.t", "*.modulation.deltas", "*.implicit_filter.[35].freq", "*.[PQ][ri]"]
    common: dict[str, Any] = {"run": run, "reference": "the authors' code", "own": own, "scales": SCALES}
    kinds: dict[str, dict[str, Any]] = {
        "magnitude": {},
        "magnitude_padded": {"causal": True},
        "magnitude_dct": {"transform": "dct", "causal": True},
        "correlation": {"kernel": "corrTime"},
        "correlation_dct": {"transform": "dct", "kernel": "corrTime"},
    }
    for name, settings in kinds.items():
        model = layer(d_model=6, filter_order=5, **settings)
        write("sequence/orchid", f"{name}_small", model, points(6, (2, 20), (3, 7), (1, 128)), variant=name, small=True, **common)
    model = layer(d_model=6, filter_order=5, edges="reflect", transform="fft-o")
    config = {"edges": "reflect", "norm": "ortho"}
    write("sequence/orchid", "reflected_small", model, points(6, (2, 20)), variant="magnitude", small=True, config=config, **common)
    model = layer("dctxd-o", d_model=8, filter_order=128, short_filter_order=5, emb_dim=33, num_inner_mlps=1, w=10)
    write("sequence/orchid", "example", model, points(8, (2, 128)), variant="example", **common)
    for name, settings in kinds.items():
        model = layer(d_model=768, filter_order=64, **settings)
        write("sequence/orchid", name, model, points(768, (1, 13), (1, 4)), variant=name, sweep=True, **common)
