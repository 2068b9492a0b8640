"""Write what the authors' adapters and scales compute in transformers' BERT. Run by hand, given a checkout of github.com/CPJKU/ScaLearn:

pip install transformers && python tests/references/make_scalearn.py --source PATH

Of their copy of adapter-transformers, which is of an old transformers, the file of modules is imported by itself. The calls between
them stand here as in its `layer.py`.
"""

from __future__ import annotations

import importlib.util
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch
from fill import Draw, Scale
from making import Tensors, write
from torch import nn
from transformers import BertConfig, BertModel

import lamina
from lamina.compiler.elaborate import elaborate

SPEC, REFERENCE = "adapter/scalearn", "the authors' modules"
FILE = Path(__file__).parents[2] / "specs" / f"{SPEC}.yaml"
PFEIFFER: dict[str, Any] = {
    "ln_before": False, "ln_after": False, "adapter_residual_before_ln": False, "use_gating": False, "residual_before_ln": True,
    "original_ln_before": True, "original_ln_after": True, "omega": None, "phm_layer": False, "non_linearity": "relu", "scaling": 1.0,
    "init_weights": "bert",
}  # fmt: skip


class Shared:
    """As their ForwardContext, as far as it is asked."""

    shared_parameters: ClassVar[Any] = {}

    @classmethod
    def get_context(cls) -> Any:
        return cls


def authors_modules(source: Path) -> Any:
    """Their modeling.py."""
    for name, members in {
        "authors": {"__path__": []},
        "authors.configuration": {"AdapterConfig": None, "AdapterFusionConfig": None},
        "authors.context": {"ForwardContext": Shared},
    }.items():
        sys.modules[name] = module = ModuleType(name)
        module.__dict__.update(members)
    path = source / "adapter-transformers" / "src" / "transformers" / "adapters" / "modeling.py"
    spec = importlib.util.spec_from_file_location("authors.modeling", path)
    assert spec is not None
    assert spec.loader is not None
    modeling = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(modeling)
    return modeling


class Output(nn.Module):
    """BertOutput, as their AdapterLayer does what it adds."""

    def __init__(self, theirs: Any, modeling: Any, config: Any, scaling: dict[str, Any]) -> None:
        super().__init__()
        self.dense, self.LayerNorm = theirs.dense, theirs.LayerNorm
        width, tasks = config["dim"], config["tasks"]
        made = {str(t): modeling.Adapter(str(t), width, config["bottleneck"], PFEIFFER) for t in range(tasks)}
        self.adapters = nn.ModuleDict(made)
        kind = modeling.ScaLearnPlusPlus if config["shared"] else modeling.ScaLearn
        names = {"name": "all"} if config["shared"] else {}
        self.scalearn_layer = nn.ModuleDict({"all": kind(scaling, width, tasks, **names)})

    def forward(self, hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
        last: Any = self.adapters[str(len(self.adapters) - 1)]
        hidden, _, residual = last.pre_forward(self.dense(hidden_states), input_tensor, self.LayerNorm, {"query_before_ln": False})
        ups = torch.stack([adapter(hidden, residual_input=residual)[2] for adapter in self.adapters.values()])
        mixed = self.scalearn_layer["all"](ups.permute(1, 2, 0, 3), residual)
        left: torch.Tensor = last.post_forward(mixed, None, input_tensor, self.LayerNorm)
        return left


def made(modeling: Any, config: Any) -> nn.Module:
    """A BERT with their outputs of layers, and their head."""
    sizes = BertConfig(
        vocab_size=config["vocabulary"], hidden_size=config["dim"], num_hidden_layers=config["depth"], num_attention_heads=config["heads"],
        intermediate_size=config["hidden"], layer_norm_eps=config["eps"], attn_implementation="eager",
    )  # fmt: skip
    model = BertModel(sizes, add_pooling_layer=False)
    scaling = {
        "omega_shape": "scalar" if config["uniform"] else "vector", "omega_init_type": "avg", "omega_init_scale": 2.0, "learn_omega": True,
        "dropout_ratio": config["dropout"], "take_mean": False, "take_softmax": False, "residual": True, "per_layer": config["shared"],
    }  # fmt: skip
    for layer in model.encoder.layer:
        layer.output = Output(layer.output, modeling, config, scaling)
    dim = config["dim"]
    model.head = nn.Sequential(nn.Dropout(), nn.Linear(dim, dim), nn.Tanh(), nn.Dropout(), nn.Linear(dim, config["classes"]))
    if config["shared"]:
        model.shared_parameters = nn.ModuleDict({"all": modeling.init_shared_parameters_scalearn(scaling, dim, config["tasks"])})
        Shared.shared_parameters = {"all": model.shared_parameters["all"]}
    return model


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model.head(model(**inputs).last_hidden_state[:, 0])}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    modeling = authors_modules(Path(parser.parse_args().source))
    draws = [(Draw(shape, "int64", 1, 50), Draw(shape, "int64", 1, 2)) for shape in [(2, 7), (3, 1)]]
    points = [{"input_ids": ids, "attention_mask": mask} for ids, mask in draws]
    for variant in lamina.load(FILE).variants:
        model = made(modeling, elaborate(lamina.load(FILE, variant=variant, small=True)).config)
        inert = ["*.key.bias", "embeddings.token_type_embeddings.weight"]  # the same for all of a query's scores; one of two kinds
        scales = [Scale("*omega", 0.6, 0.5), Scale("*LayerNorm.weight", 1, 0.2)]
        write(SPEC, variant, model, points, run, reference=REFERENCE, variant=variant, small=True, scales=scales, inert=inert)


if __name__ == "__main__":
    main()
