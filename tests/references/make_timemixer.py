"""The authors' TimeMixer, channels apart and mixed. Needs torch, and `--source`, a checkout of github.com/kwuking/TimeMixer."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from types import SimpleNamespace
from typing import Any

import torch
from fill import Draw
from making import Tensors, write

parser = ArgumentParser(description=__doc__)
parser.add_argument("--source", required=True)
sys.path.insert(0, parser.parse_args().source)
from models.TimeMixer import Model  # noqa: E402

ALWAYS = {
    "task_name": "long_term_forecast", "label_len": 0, "down_sampling_window": 2, "down_sampling_method": "avg", "dropout": 0.1,
    "decomp_method": "moving_avg", "embed": "timeF", "freq": "h", "moving_avg": 25, "use_future_temporal_feature": 0,
}  # fmt: skip
APART = {"channel_independence": 1, "use_norm": 1, "seq_len": 96, "pred_len": 96, "e_layers": 3, "d_model": 16, "d_ff": 32}
MIXED = {"channel_independence": 0, "use_norm": 0, "seq_len": 96, "pred_len": 12, "e_layers": 5, "d_model": 128, "d_ff": 256}
M4 = {**APART, "enc_in": 1, "e_layers": 4, "d_model": 32, "down_sampling_layers": 1}
VARIANTS = {
    "ett": {**APART, "enc_in": 7, "e_layers": 2, "down_sampling_layers": 3},
    "ettm2": {**APART, "enc_in": 7, "e_layers": 2, "d_model": 32, "down_sampling_layers": 3},
    "weather": {**APART, "enc_in": 21, "down_sampling_layers": 3},
    "electricity": {**APART, "enc_in": 321, "down_sampling_layers": 3},
    "traffic": {**APART, "enc_in": 862, "d_model": 32, "d_ff": 64, "down_sampling_layers": 3},
    "solar": {**MIXED, "enc_in": 137, "pred_len": 96, "e_layers": 3, "d_model": 512, "d_ff": 2048, "down_sampling_layers": 2},
    "pems03": {**MIXED, "enc_in": 358, "down_sampling_layers": 1},
    "pems04": {**MIXED, "enc_in": 307, "down_sampling_layers": 1},
    "pems07": {**MIXED, "enc_in": 883, "down_sampling_layers": 1},
    "pems08": {**MIXED, "enc_in": 170, "down_sampling_layers": 1},
    "m4_monthly": {**M4, "seq_len": 36, "pred_len": 18},
    "m4_quarterly": {**M4, "seq_len": 16, "pred_len": 8, "d_ff": 64},
    "m4_yearly": {**M4, "seq_len": 12, "pred_len": 6},
    "m4_weekly": {**M4, "seq_len": 26, "pred_len": 13},
    "m4_daily": {**M4, "seq_len": 28, "pred_len": 14, "d_ff": 16},
    "m4_hourly": {**M4, "seq_len": 96, "pred_len": 48},
}
SMALL = {"enc_in": 3, "seq_len": 16, "pred_len": 6, "e_layers": 2, "d_model": 4, "d_ff": 6, "moving_avg": 5}


def run(model: Any, inputs: Tensors) -> Tensors:
    """One sample at a time: the code repeats the times of a batch in another order than its channels, so that samples get each other's."""
    times = [time[None] for time in inputs["time"]] if "time" in inputs else [None] * len(inputs["past"])
    return {"forecast": torch.cat([model(past[None], time, None, None) for past, time in zip(inputs["past"], times, strict=True)])}


def case(name: str, variant: str, settings: dict[str, Any], batches: tuple[int, ...], **how: Any) -> None:
    config = SimpleNamespace(**{**ALWAYS, **settings}, c_out=settings["enc_in"])
    never = ["*.layer_norm.*", "enc_embedding.position_embedding.pe"]
    never += [] if config.channel_independence else ["*.out_cross_layer.*"]
    never += [] if config.use_norm else ["normalize_layers.*"]
    shape = (config.seq_len, config.enc_in)
    timed = not variant.startswith(("solar", "pems", "m4"))  # their experiments pass no times for the others
    never += [] if timed else ["enc_embedding.temporal_embedding.*"]
    times = {n: {"time": Draw((n, shape[0], 4), low=-0.5, high=0.5)} if timed else {} for n in batches}
    points = [{"past": Draw((n, *shape), low=-3, high=5), **times[n]} for n in batches]
    write(
        "series/timemixer", name, Model(config), points, run,
        reference="the authors' code", variant=variant, unused=never, **how,
    )  # fmt: skip


def main() -> None:
    for variant in ("ett", "solar", "pems08", "m4_hourly"):
        case(f"{variant}_small", variant, {**VARIANTS[variant], **SMALL}, (1, 3), small=True)
    case("max_small", "ett", {**VARIANTS["ett"], **SMALL, "down_sampling_method": "max"}, (1, 3), small=True, config={"pool": "max_pool"})
    for variant, settings in VARIANTS.items():
        fewer = {"channels": 500} if variant == "traffic" else {}  # so that what it forecasts is a small file
        settings = {**settings, "enc_in": fewer.get("channels", settings["enc_in"])}
        case(variant, variant, settings, (1,), config=fewer, sweep=True)


if __name__ == "__main__":
    main()
