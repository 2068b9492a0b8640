"""Write what the authors' hflayers compute. Run by hand, given a checkout of github.com/ml-jku/hopfield-layers:

pip install torch && python tests/references/make_hopfield.py --source PATH

With a tensor of several scalings they spread them over the features of each head, not over the heads: one number is compared here.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import nn

SPEC, REFERENCE = "memory/hopfield", "hflayers 1.0.2"
SHIFT = ["*norm_stored_pattern.bias"]  # moves every score of a query alike, which one softmax does not see
SCALES = [Scale("*in_proj_weight", 0, 0.05), Scale("*pooling_weights", 0, 1), Scale("*lookup_weights", 0, 1)]
WIDE = [Scale("*in_proj_weight", 0, 0.4)]
NORMS = ["*norm_state_pattern.*", "*norm_stored_pattern.*"]  # once a head has settled, where it started is forgotten
STATES, STORED = Draw((2, 3, 512)), Draw((2, 7, 512))
HALF = {"width": 64}
# At beta 8: patterns so near each other that states come to rest among them or still move after the last step, and ones far apart.
REACHES = (0.05, 0.058, 0.075, 0.1)


def hopfield(model: nn.Module, inputs: Tensors) -> Tensors:
    return {"x": model((inputs["stored"], inputs["state"], inputs["stored"]))}


def pooling(model: nn.Module, inputs: Tensors) -> Tensors:
    padding = ~inputs["mask"] if "mask" in inputs else None
    return {"pooled": model(inputs["stored"], stored_pattern_padding_mask=padding)}


def lookup(model: nn.Module, inputs: Tensors) -> Tensors:
    return {"x": model(inputs["state"])}


# Of three inputs the first is left as it is, the second normalised alone, the third also scaled and shifted.
MIXED = {"normalize_state_pattern": False, "normalize_state_pattern_affine": False, "normalize_stored_pattern_affine": False}
BARE = {"prepare_state": "identity", "prepare_stored": "layer_norm(affine=false)"}
# Heads that would go on, were they not stopped each in its own way: by its limit, or by its threshold after 4, 2, 3 and 1 steps.
LIMITS, THRESHOLDS = [1, 2, 0, 30, 30, 30, 2, 30], [1e-4, 1e-4, 1e-4, 0.1, 0.1, 0.01, 1e-4, 1.0]


def retrieval(core: Any) -> nn.Module:
    """Nothing but the rule: no norms and no projections."""
    names = ("stored_pattern", "state_pattern", "pattern_projection")
    plain = {f"normalize_{name}{end}": False for name in names for end in ("", "_affine")} | {f"{name}_as_static": True for name in names}
    model: nn.Module = core(scaling=8.0, update_steps_max=20, update_steps_eps=1e-6, disable_out_projection=True, **plain)
    return model


def narrow(**draws: Draw) -> list[dict[str, Draw]]:
    """The same inputs, 64 wide."""
    return [{k: Draw((*d.shape[:2], 64), d.dtype, d.low, d.high) if len(d.shape) == 3 else d for k, d in draws.items()}]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    sys.path.insert(0, parser.parse_args().source)
    from hflayers import Hopfield, HopfieldLayer, HopfieldPooling

    common: dict[str, Any] = {"reference": REFERENCE, "scales": SCALES}
    association = [{"state": STATES, "stored": STORED}]
    bag = {"stored": STORED, "mask": Draw((2, 7), "bool", 0, 2)}
    write(SPEC, "hopfield", Hopfield(512, num_heads=8), association, hopfield, variant="hopfield", inert=SHIFT, **common)
    write(SPEC, "hopfield_steps", Hopfield(512, num_heads=8, update_steps_max=3), association, hopfield, variant="hopfield_steps", **common)
    write(SPEC, "pooling", HopfieldPooling(512, num_heads=8), [{"stored": STORED}], pooling, variant="pooling", inert=SHIFT, **common)
    steps = HopfieldPooling(512, num_heads=8, quantity=2, update_steps_max=3)
    write(SPEC, "pooling_masked_steps", steps, [bag], pooling, variant="pooling_masked_steps", **common)
    write(
        SPEC, "lookup", HopfieldLayer(512, num_heads=8, quantity=64), [{"state": STATES}], lookup, variant="lookup", inert=SHIFT, **common
    )
    sharp = Hopfield(64, num_heads=8, update_steps_max=30, scaling=0.5)
    config = {**HALF, "updates": 30, "betas": [0.5] * 8}
    write(
        SPEC,
        "settled",
        sharp,
        narrow(**association[0]),
        hopfield,
        variant="hopfield_steps",
        config=config,
        inert=NORMS,
        **{**common, "scales": WIDE},
    )
    near = [{name: Draw(draw.shape, low=-reach, high=reach) for name, draw in association[0].items()} for reach in REACHES]
    write(SPEC, "retrieval", retrieval(Hopfield), near, hopfield, variant="retrieval", reference=REFERENCE)
    mixed = Hopfield(64, num_heads=8, **MIXED)
    write(SPEC, "mixed", mixed, narrow(**association[0]), hopfield, variant="hopfield", config={**HALF, **BARE}, **common)
    limits, thresholds = torch.tensor(LIMITS), torch.tensor(THRESHOLDS)
    each = Hopfield(64, num_heads=8, scaling=0.5, update_steps_max=limits, update_steps_eps=thresholds)
    config = {**HALF, "limits": LIMITS, "thresholds": THRESHOLDS, "betas": [0.5] * 8}
    wide = {**common, "scales": WIDE}
    write(SPEC, "each_head", each, narrow(**association[0]), hopfield, variant="hopfield_steps", config=config, **wide)
