"""Write what the authors' V-MoE with momentum computes. Run by hand, given two checkouts of github.com/rachtsy/vmoe: the last commit, and
2f980dd, before robust momentum took the other's place:

pip install torch jax flax && python tests/references/make_momentum_vmoe.py --source PATH --before PATH

Experts have room for all tokens, as in their evaluation, and the weights of choices are not rounded to bfloat16.
"""

from __future__ import annotations

import importlib.util
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import flax
import jax
from fill import Draw, Scale
from flax_bridge import Called
from making import write

SPEC, REFERENCE = "vision/momentum_vmoe", "github.com/rachtsy/vmoe"
SCALES = [
    Scale("*.scale", 1, 0.25), Scale("*Router.dense.kernel", 0, 0.6), Scale("*SelfAttention*.kernel", 0, 0.4), Scale("*.kernel", 0, 0.3),
    Scale("cls", 0, 1), Scale("*pos_embedding", 0, 1),
]  # fmt: skip
DISPATCHER = {"name": "einsum", "bfloat16": False, "capacity_factor": 4.0, "batch_priority": False}
MOE = {
    "num_experts": 4, "group_size": 17, "layers": (1, 3),
    "router": {"num_selected_experts": 2, "noise_std": 1.0, "dispatcher": DISPATCHER},
}  # fmt: skip


def model_of(module: Any, **step: Any) -> Called:
    """At the spec's small size."""
    encoder = {"num_layers": 4, "mlp_dim": 48, "num_heads": 4, "moe": MOE, **step}
    model = module.VisionTransformerMoe(
        num_classes=10, patch_size=(8, 8), hidden_size=32, encoder=encoder, representation_size=32, deterministic=True
    )
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    shapes = flax.traverse_util.flatten_dict(jax.eval_shape(model.init, jax.random.PRNGKey(0), image)["params"], sep=".")

    def function(image: Any, weights: dict[str, Any]) -> Any:
        tree = flax.traverse_util.unflatten_dict(weights, sep=".")
        return (model.apply({"params": tree}, image.transpose(0, 2, 3, 1))[0],)

    return Called(function, {key: leaf.shape for key, leaf in shapes.items()})


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    parser.add_argument("--before", type=Path, required=True)
    given = parser.parse_args()
    sys.path.insert(0, given.source)
    last = importlib.import_module("vmoe.nn.vit_moe")
    found = importlib.util.spec_from_file_location("before", given.before / "vmoe" / "nn" / "vit_moe.py")
    assert found is not None
    assert found.loader is not None
    first = importlib.util.module_from_spec(found)
    found.loader.exec_module(first)
    steps: dict[str, tuple[Any, dict[str, float]]] = {
        "_plain": (last, {}),
        "": (first, {"mu": 0.8, "gamma": 1.0}),
        "_robust": (last, {"mu": 0.2, "gamma": 1.25}),
        "_stronger": (last, {"mu": 0.6, "gamma": 1.5}),
    }
    cases = [f"{size}{step}" for size in ("s32", "b32") for step in steps if f"{size}{step}" != "b32_stronger"]  # one, when small
    for name in cases:
        module, step = steps[name[3:]]
        own = step if name == "s32_stronger" else {}
        write(
            SPEC, name, model_of(module, momentum=bool(step), **step), [{"image": Draw((n, 3, 32, 32))} for n in (1, 3)],
            lambda model, inputs: {"logits": model(inputs["image"])[0]},
            reference=REFERENCE, variant="s32_robust" if own else name, small=True, config=own, scales=SCALES,
            inert=["*.key.bias"],  # it shifts all scores of a token
        )  # fmt: skip


if __name__ == "__main__":
    main()
