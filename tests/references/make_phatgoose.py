"""Write what the authors' routers and experts compute in transformers' T5. Run by hand, given a checkout of github.com/r-three/phatgoose:

pip install torch transformers gin-config && python tests/references/make_phatgoose.py --source PATH

Theirs are put into the model by their own functions and their own settings for T5-XL, of which sizes alone are changed.
"""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType
from typing import Any

import gin
from fill import Draw, Scale
from making import Tensors, write
from test_t5 import reference

import lamina
from lamina.compiler.elaborate import elaborate

SPEC, REFERENCE = "adapter/phatgoose", "github.com/r-three/phatgoose"
FILE = Path(__file__).parents[2] / "specs" / f"{SPEC}.yaml"


def theirs(source: Path) -> type[Any]:
    """What holds a model and its addons; what other parts of their package import is not needed."""
    absent = {"sentence_transformers": "SentenceTransformer", "transformers.utils.model_parallel_utils": "get_device_map"}
    for module, name in absent.items():
        sys.modules[module] = ModuleType(module)
        setattr(sys.modules[module], name, None)
    sys.path.insert(0, str(source))
    mixin: type[Any] = importlib.import_module("src.models").AddonControlMixin
    return mixin


def adapted(mixin: type[Any], source: Path, config: Any) -> Any:
    """A T5 with the addons that their scripts for evaluation, or for training a gate, ask for."""

    class Model(mixin):
        def __init__(self) -> None:
            self.global_hidden_dict: dict[Any, Any] = {}
            super().__init__()
            self.torch_model = reference(config, "gated-gelu")

    if config["post_hoc"]:
        kind, lines = "moe_lora_gate", ["FFNExperts.learn_input_gate='only_sigmoid'"]
    else:
        kind, lines = (
            "moe_lora_rank16_a2",
            [f"FFNExperts.topk_value={config['active']}", f"FFNExperts.normalize_topk={config['normalize']}"],
        )
    lines += [
        f"FFNExperts.d_bottleneck={config['rank']}",
        f"Router.scaling_scores={config['scaled']}",
        "ExtendableAddon.separate_experts=True",
    ]
    gin.clear_config()
    gin.parse_config_files_and_bindings([str(source / "colm" / "models" / "t5xl" / f"{kind}.gin")], [f"M/MODEL/{line}" for line in lines])
    model = Model()
    monitor, moe = (importlib.import_module(f"src.models.manipulations.{name}") for name in ("monitor", "moe"))
    for call in (monitor.watch_hiddens, moe.make_moe):
        for stack in ("ENCODER", "DECODER"):
            with gin.config_scope(f"M/MODEL/{stack}"):
                call(model)
    moe.extend_moe(model, 1 if config["post_hoc"] else config["experts"], "from_scratch")
    model.torch_model.register_forward_pre_hook(lambda *_: model.global_hidden_dict.clear())
    return model.torch_model.requires_grad_(True)


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"logits": model(**inputs, use_cache=False).logits}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    source = parser.parse_args().source
    mixin = theirs(source)
    ids = [
        {"input_ids": Draw((n, s), "int64", 1, 96), "decoder_input_ids": Draw((n, t), "int64", 1, 96)}
        for n, s, t in [(3, 20, 30), (1, 3, 1)]
    ]
    points = [point | {"attention_mask": Draw(point["input_ids"].shape, "int64", 1, 2)} for point in ids]
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "t0-xl": ("t0-xl", {"decoder_layers": 2}), "gate-xl": ("gate-xl", {}), "flan-xl": ("flan-xl", {"experts": 9}),
        "v1.1-small": ("v1.1-small", {}), "three": ("t0-xl", {"active": 3}),
        "among-all": ("t0-xl", {"normalize": False}), "unscaled": ("t0-xl", {"scaled": False}),
    }  # fmt: skip
    for number, (name, (variant, more)) in enumerate(cases.items()):
        settings = {"every": True, "layers": 1, "decoder_layers": 1, **more}
        config = elaborate(lamina.load(FILE, variant=variant, small=True, **settings)).config
        scales = [Scale("*layer1__*", 0, 0.4), Scale("*layer2__*", 0, 0.4), Scale("*input_gate", 0, 0.6)]
        write(
            SPEC, name, adapted(mixin, source, config), points, run, reference=REFERENCE, variant=variant, small=True, config=settings,
            sweep=number > 1, scales=scales, own=["*.embed_tokens.weight"], unused=["*.router.*"] if config["post_hoc"] else [],
        )  # fmt: skip


if __name__ == "__main__":
    main()
