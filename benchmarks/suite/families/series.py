"""Networks for time series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.suite.model import Model, Network

if TYPE_CHECKING:
    from torch import Tensor, nn


def _patchtsmixer() -> nn.Module:
    from transformers import PatchTSMixerConfig, PatchTSMixerForPrediction

    sizes = {"context_length": 512, "prediction_length": 96, "patch_length": 16, "patch_stride": 16, "d_model": 48}
    return PatchTSMixerForPrediction(PatchTSMixerConfig(num_input_channels=7, num_layers=2, expansion_factor=3, norm_eps=1e-5, **sizes))


def _forecast(network: nn.Module, past: Tensor) -> Tensor:
    found: Tensor = network(past_values=past).prediction_outputs
    return found


MODELS = (
    Model("series/patchtsmixer", "common_channel", Network(_patchtsmixer, _forecast), {"C": 7}),
    Model("series/timemixer", "ett"),
    Model("series/tsm2", "ett"),
)
