"""Write the trajectories of the authors' MixER. Run by hand, given a checkout of github.com/ddrous/MixER:

pip install torch jax equinox diffrax optax einops && python tests/references/make_mixer_ode.py --source PATH

Experts, gate and solver are theirs, the solver with smaller tolerances and in float64. Their checkpoints are leaves without names: here
each has the path of its attribute, and CoDA's, which they keep in one row, the path of what they are cut into.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import diffrax
import equinox
import jax
import jax.numpy as jnp
import numpy as np
from cases import Reference
from fill import Array, Draw, Scale, fill

SPEC, REFERENCE = "series/mixer_ode", "github.com/ddrous/MixER"
SIZES: dict[str, Any] = {"data_size": 2, "width": 8, "depth": 3, "context_size": 9, "activation": "swish", "shift_context": True}
SCALES = (Scale("*.beta", 1, 0.3), Scale("*.hyperlayer.*", 0, 0.1))


def authors(source: Path) -> Any:
    """Their module of networks, without what draws."""
    for name in ("matplotlib", "matplotlib.pyplot", "seaborn", "scipy", "scipy.interpolate"):
        sys.modules[name] = MagicMock()
    package = sys.modules["mixer"] = ModuleType("mixer")
    package.__path__ = [str(source / "mixer")]
    return importlib.import_module("mixer.learner")


def path(entries: Any) -> str:
    """Of a leaf."""
    return ".".join(str(getattr(e, "name", getattr(e, "idx", ""))) for e in entries)


class Checkpoint:
    """Fills a tree, and remembers the keys and shapes of its leaves."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}

    def value(self, key: str, shape: tuple[int, ...]) -> Array:
        self.shapes[key] = shape
        return np.asarray(fill(key, shape, SCALES), np.float64)

    def filled(self, tree: Any, prefix: str = "") -> Any:
        leaves, definition = jax.tree_util.tree_flatten_with_path(tree)
        made = [self.value(prefix + path(p), leaf.shape) if equinox.is_array(leaf) else leaf for p, leaf in leaves]
        return jax.tree_util.tree_unflatten(definition, [jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf for leaf in made])

    def coda(self, expert: Any, prefix: str) -> Any:
        """One of CoDA's experts: its row of weights, and the matrix that a context multiplies, in the parts that the network is made of."""
        shapes, definition, *_ = expert.root_utils
        names = [
            path(p) for p, _ in jax.tree_util.tree_flatten_with_path(jax.tree_util.tree_unflatten(definition, shapes), is_leaf=is_shape)[0]
        ]
        row = [self.value(f"{prefix}root.{name}", shape).ravel() for name, shape in zip(names, shapes, strict=True)]
        columns = expert.hyperlayer.weight.shape[1]
        matrix = [
            self.value(f"{prefix}hyperlayer.{name}", (int(np.prod(shape)), columns)) for name, shape in zip(names, shapes, strict=True)
        ]
        shift = self.value(f"{prefix}ctx_shift", (1,))
        made = (jnp.asarray(np.concatenate(row)), jnp.asarray(np.concatenate(matrix)), jnp.asarray(shift))
        return equinox.tree_at(lambda e: (e.root_weights, e.hyperlayer.weight, e.ctx_shift), expert, made)


def is_shape(leaf: Any) -> bool:
    return isinstance(leaf, tuple) and all(isinstance(size, int) for size in leaf)


def trajectory(model: Any, y: Array, context: Array, times: Array) -> list[Array]:
    """From time to time, which may be an earlier one."""
    found = [y]
    for pair in itertools.pairwise(times):
        found.append(model((found[-1][None], jnp.asarray(pair, float)), jnp.asarray(context), jnp.asarray(context))[0, -1])
    return found


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    code = authors(Path(parser.parse_args().source))
    jax.config.update("jax_enable_x64", True)
    solver = {"return_traj": True, "integrator": diffrax.Tsit5(), "rtol": 1e-8, "atol": 1e-10}
    for variant, name in {"geps": "GEPS", "coda": "CoDA"}.items():
        checkpoint = Checkpoint()
        network = code.MixER(
            key=jax.random.PRNGKey(0), nb_experts=3, meta_learner=name, split_context=True, gate_update_strategy="least_squares", **SIZES
        )
        experts = [
            checkpoint.coda(expert, f"experts.{i}.") if variant == "coda" else checkpoint.filled(expert, f"experts.{i}.")
            for i, expert in enumerate(network.experts)
        ]
        gate = jnp.asarray(checkpoint.value("gate", network.gate.shape))
        network = equinox.tree_at(lambda n: (n.experts, n.gate), network, (experts, gate))
        model = code.NeuralODE(neuralnet=network, taylor_order=0, ivp_args=solver)
        sizes = ((5, 8), (1, 2))
        points = tuple(
            {"start": Draw((n, 2)), "context": Draw((n, 9), low=-2, high=2), "times": Draw((k,), low=0, high=0.5)} for n, k in sizes
        )
        count = sum(int(np.prod(shape)) for key, shape in checkpoint.shapes.items() if key != "gate")
        sweep, config = variant == "coda", {"steps": 4}
        case = Reference(
            SPEC, variant, REFERENCE, variant, True, config, sweep, 1e-4, count, None, {}, checkpoint.shapes, points, SCALES
        )  # fmt: skip
        outputs = []
        for tensors in case.inputs():
            chosen = [int(network.gating_function(jnp.asarray(c)).argmax()) for c in tensors["context"]]
            solved = [trajectory(model, y, c, tensors["times"]) for y, c in zip(tensors["start"], tensors["context"], strict=True)]
            outputs.append({"trajectory": np.asarray(solved, np.float32), "expert": np.asarray(chosen)})
            print(variant, chosen, outputs[-1]["trajectory"].std(axis=1).max())
        case.write(outputs)


if __name__ == "__main__":
    main()
