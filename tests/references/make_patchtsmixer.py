"""transformers' PatchTSMixerForPrediction in both channel modes, and without its gates. Needs `pip install transformers torch`."""

from __future__ import annotations

from typing import Any

import transformers
from fill import Draw, Scale
from making import Tensors, write
from transformers import PatchTSMixerConfig, PatchTSMixerForPrediction

SCALES = (Scale("*.attn_layer.weight", 0, 0.5),)  # shares of a softmax are small: livelier scores
SMALL = {"num_input_channels": 7, "context_length": 26, "prediction_length": 12, "patch_length": 6, "patch_stride": 4, "d_model": 4}
WHOLE = {"num_input_channels": 7, "context_length": 512, "prediction_length": 96, "patch_length": 16, "patch_stride": 16, "d_model": 48}


def run(model: Any, inputs: Tensors) -> Tensors:
    return {"forecast": model(past_values=inputs["past"]).prediction_outputs}


def main() -> None:
    modes = {"common_channel": {}, "mix_channel": {"mode": "mix_channel"}, "common_channel_ungated": {"gated_attn": False}}
    for variant, mode in modes.items():
        for size, settings in {"small": SMALL, "whole": WHOLE}.items():
            config = PatchTSMixerConfig(**mode, num_layers=2, expansion_factor=3, norm_eps=1e-5, **settings)
            shape = (settings["context_length"], settings["num_input_channels"])
            points = [{"past": Draw((n, *shape), low=-3, high=5)} for n in (1, 3)]
            write(
                "series/patchtsmixer", f"{variant}_{size}", PatchTSMixerForPrediction(config), points, run,
                reference=f"transformers {transformers.__version__}", variant=variant, small=size == "small", scales=SCALES,
                macs_at={"N": 1, "C": 7},
            )  # fmt: skip


if __name__ == "__main__":
    main()
