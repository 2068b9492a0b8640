"""gamma-MoD: the loss of its router, what it skips, and the plain decoder that it is of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from evidence import Record
from in_parts import in_parts

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import summarize

SPEC = Path(__file__).parents[2] / "specs" / "language" / "gamma_mod.yaml"
GIVEN = {
    "before": np.array([[3, 1, 4]]),
    "image": np.random.default_rng(0).standard_normal((1, 12, 32)).astype(np.float32),
    "after": np.array([[1, 5, 9]]),
}


def test_a_router_without_weights_finds_both_as_likely() -> None:
    """Its cross entropy is then the logarithm of two, in each of two layers, and its probability a half for what is taken."""
    module = lamina.to_torch(lamina.load(SPEC, small=True)).train()
    with torch.no_grad():
        module.get_parameter("router.weight").zero_()
    found = module(**{name: torch.from_numpy(array) for name, array in GIVEN.items()})
    torch.testing.assert_close(found["routing"], torch.tensor(2 * np.log(2), dtype=torch.float32))


def test_the_loss_is_the_cross_entropy_of_what_was_taken() -> None:
    """In one layer, at the start of the network, by the formula."""
    module = lamina.to_torch(lamina.load(SPEC, small=True, layers=2, whole=[1])).train()
    found = module(**{name: torch.from_numpy(array) for name, array in GIVEN.items()})
    weights = dict(module.named_parameters())
    table = weights["embed_tokens.weight"]
    x = torch.cat([table[GIVEN["before"]], torch.from_numpy(GIVEN["image"]), table[GIVEN["after"]]], dim=1)
    normed = torch.nn.functional.rms_norm(x, (32,), weights["layers.0.mod.input_layernorm.weight"], 1e-5)
    logits = normed @ weights["router.weight"].T
    likelihood = logits.softmax(-1)[0, :, 1] + (torch.arange(18) >= 15)
    target = torch.zeros(18, dtype=torch.int64)
    target[likelihood.topk(11).indices] = 1  # half of fifteen, the odd one taken, and the three after them
    torch.testing.assert_close(found["routing"], torch.nn.functional.cross_entropy(logits[0], target))


def test_half_of_the_beginning_is_skipped() -> None:
    """In 28 of 32 layers, so that multiply-adds drop to little more than a half."""
    some, whole = (summarize(elaborate(lamina.load(SPEC, f"llava-hr-7b{kind}")), {"N": 1, "T": 64}).macs for kind in ("", "-dense"))
    taken = (4 * 1123 + 28 * 594) / (32 * 1123)
    assert abs(some / whole - taken) < 0.01


def test_taking_all_with_a_weight_of_one_is_the_plain_decoder(tmp_path: Path) -> None:
    """A router without weights has a probability of a half, which twice the network's last matrix makes up for."""
    sparse, dense = (lamina.load(SPEC, small=True, every=True, skipped=0.0, **more) for more in ({}, {"whole": [0, 1, 2, 3, 4, 5]}))
    first, second = lamina.to_torch(sparse).eval(), lamina.to_torch(dense).eval()
    with torch.no_grad():
        for name, weight in second.named_parameters():
            own = first.get_parameter(name)
            own.copy_(2 * weight if ".down_proj." in name and name.split(".")[1] in "34" else weight)
        first.get_parameter("router.weight").zero_()
        got, want = (module(**{name: torch.from_numpy(array) for name, array in GIVEN.items()}) for module in (first, second))
    got, want = (found["logits"] if isinstance(found, dict) else found for found in (got, want))
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_text_goes_on_from_what_layers_remember(tmp_path: Path, record: Record) -> None:
    """Of each layer's own length and positions: four take all, and two a half."""
    assert in_parts(SPEC, "llava-hr-7b", tmp_path, record)["memory"].shape[2] == 4 * 15 + 2 * 8
