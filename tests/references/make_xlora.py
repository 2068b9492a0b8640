"""PEFT's X-LoRA over a Llama of transformers'. Needs `pip install torch transformers && pip install --no-deps peft accelerate psutil`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import peft
from adapting import CAUSAL, Config, causal_points, run_causal, tied
from fill import Scale
from making import write
from test_llama import reference

import lamina
from lamina.compiler.elaborate import elaborate

SPEC, REFERENCE = "adapter/xlora", f"PEFT {peft.__version__}"


def adapters(config: Config, folder: Path) -> dict[str, str]:
    """Folders of PEFT's, of which each is one adapter; PEFT numbers them."""
    for number, (rank, alpha) in enumerate(zip(config["ranks"], config["alphas"], strict=True)):
        names = [f"{part}_proj" for part in config["adapted"]]
        made = peft.get_peft_model(reference(config), peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=names))
        made.save_pretrained(folder / str(number))
    return {str(number): str(folder / str(number)) for number in range(len(config["ranks"]))}


def adapted(config: Config) -> Any:
    base = reference(config)
    base.config.use_cache = False
    with TemporaryDirectory() as folder:
        options = peft.XLoraConfig(
            task_type="CAUSAL_LM", hidden_size=config["dim"], adapters=adapters(config, Path(folder)), xlora_depth=config["depth"],
            xlora_size=config["size"], xlora_dropout_p=config["classifier_dropout"], layerwise_scalings=config["layerwise"],
            softmax_temperature=config["temperature"], enable_softmax=config["softmaxed"], top_k_lora=config["k"],
            enable_softmax_topk=config["softmaxed_k"], global_scaling_weight=config["whole"], use_trainable_adapters=True,
        )  # fmt: skip
        model = peft.get_peft_model(base, options)
    return model.requires_grad_(True)


def main() -> None:
    for number, variant in enumerate(lamina.load(f"specs/{SPEC}.yaml").variants):
        config = elaborate(lamina.load(f"specs/{SPEC}.yaml", variant=variant, small=True, **CAUSAL)).config
        scales = [Scale("*lora_B*", 0, 0.5), Scale("*internal_xlora_classifier*weight", 0, 0.4)]
        write(
            SPEC, variant, adapted(config), causal_points(), run_causal, reference=REFERENCE, variant=variant, small=True, config=CAUSAL,
            sweep=number > 0, scales=scales, own=tied(config),
        )  # fmt: skip


if __name__ == "__main__":
    main()
