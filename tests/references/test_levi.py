"""LEVI: what each network's view is for, and that the backbone alone is left where the small one counts for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evidence import Record
from fill import fill, image

import lamina

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "levi.yaml"
BASE = SPEC.parents[1] / "vision" / "vit.yaml"
PIXELS = image((3, 3, 32, 32))
Tensors = dict[str, torch.Tensor]
functional = torch.nn.functional


def made(path: Path, **config: Any) -> tuple[Any, Tensors]:
    module = lamina.to_torch(lamina.load(path, small=True, **config)).eval()
    return module, {k: torch.from_numpy(np.asarray(fill(k, tuple(v.shape)))) for k, v in module.state_dict().items()}


def run(module: Any, state: Tensors) -> torch.Tensor:
    module.load_state_dict(state)
    with torch.no_grad():
        found: torch.Tensor = module(torch.from_numpy(PIXELS))
    return found


def backbone(state: Tensors, **config: Any) -> torch.Tensor:
    """vit itself, with the weights that it shares."""
    module, own = made(BASE, **config)
    return run(module, {k: state.get(k, v) for k, v in own.items()})


def without_the_small_one(state: Tensors) -> Tensors:
    """The columns of the adapting layers that read it are zero."""
    return {k: torch.cat([v[:, :24], torch.zeros(len(v), 8)], 1) if k.endswith("out.weight") else v for k, v in state.items()}


def view(state: Tensors, layers: int) -> torch.Tensor:
    """The small network's, by the formulas of a vision transformer, in float64."""
    own = {k.removeprefix("adapter.task."): v.double() for k, v in state.items()}
    x = functional.conv2d(torch.from_numpy(PIXELS).double(), own["patch_embed.proj.weight"], own["patch_embed.proj.bias"], stride=16)
    x = x.flatten(2).transpose(1, 2) + own["pos_embed"]
    for i in range(layers):

        def linear(x: torch.Tensor, name: str, i: int = i) -> torch.Tensor:
            return functional.linear(x, own[f"blocks.{i}.{name}.weight"], own[f"blocks.{i}.{name}.bias"])

        def norm(x: torch.Tensor, name: str, i: int = i) -> torch.Tensor:
            return functional.layer_norm(x, (8,), own[f"blocks.{i}.{name}.weight"], own[f"blocks.{i}.{name}.bias"], 1e-6)

        q, k, v = (p.unflatten(-1, (2, 4)).transpose(1, 2) for p in linear(norm(x, "norm1"), "attn.qkv").chunk(3, -1))
        x = x + linear((torch.softmax(q @ k.mT / 2, -1) @ v).transpose(1, 2).flatten(2), "attn.proj")
        x = x + linear(functional.gelu(linear(norm(x, "norm2"), "mlp.fc1")), "mlp.fc2")
    return x.mean(1)


@pytest.mark.parametrize("variant", ["tiny", "small", "base"])
def test_predictions_are_the_mean_of_what_layers_say_of_both_views(variant: str, record: Record) -> None:
    """A state of the backbone is what the norm of one of so many layers would be given; here it has a norm and a head of its own."""
    module, state = made(SPEC, variant=variant, joined=[1, 2], reads=[1, 2])
    wanted = torch.zeros(3, 10, dtype=torch.float64)
    for k, layers in enumerate((1, 2)):
        at = f"adapter.predict.{k}"
        weight = state[f"{at}.out.weight"]
        head = {"head.weight": weight[:, :24], "head.bias": state[f"{at}.out.bias"]}
        head |= {f"norm.{part}": state[f"{at}.norm.{part}"] for part in ("weight", "bias")}
        wanted += (backbone(state | head, variant=variant, depth=layers) + view(state, layers) @ weight[:, 24:].double().T) / 2
    found = run(module, state)
    worst = float((found - wanted).abs().max() / wanted.abs().max())
    assert worst <= 1e-5
    record(SPEC, variant, "parity", f"{worst:.0e} of the base and the formulas in PyTorch, small")
    assert (found - run(module, without_the_small_one(state))).abs().max() > 0.1 * wanted.abs().max()


def test_the_last_layer_alone_without_the_small_network_is_the_backbone() -> None:
    module, state = made(SPEC, joined=[2])
    base, own = made(BASE)
    state |= {f"adapter.predict.0.norm.{part}": own[f"norm.{part}"] for part in ("weight", "bias")}
    state |= {"adapter.predict.0.out.weight": torch.cat([own["head.weight"], torch.ones(10, 8)], 1)}
    state |= {"adapter.predict.0.out.bias": own["head.bias"]}
    torch.testing.assert_close(run(module, without_the_small_one(state)), run(base, own))
    assert (run(module, state) - run(base, own)).abs().max() > 0.1


def test_the_small_network_is_not_heard_where_its_columns_are_zero() -> None:
    module, state = made(SPEC)
    mute = without_the_small_one(state)
    torch.testing.assert_close(run(module, mute), run(module, {k: v * (2 if ".task." in k else 1) for k, v in mute.items()}))


def test_no_fusion_is_the_backbone(tmp_path: Path, record: Record) -> None:
    """To the bit; and so it starts, in the exported graph too."""
    module, state = made(SPEC, combination="added")
    assert module.get_parameter("adapter.fusion").count_nonzero() == 0
    assert not torch.equal(run(module, state), backbone(state))
    assert torch.equal(run(module, state | {"adapter.fusion": torch.zeros(2)}), backbone(state))
    logits = {}
    for path, config in ((SPEC, {"combination": "added"}), (BASE, {})):
        bundle = lamina.compile(lamina.load(path, small=True, **config), tmp_path / path.stem)
        logits[path.stem] = lamina.Session(bundle)(image=PIXELS)["logits"]
    np.testing.assert_allclose(logits["levi"], logits["vit"], atol=1e-6)  # other operators may be fused
    record(SPEC, "added", "parity", "the base without fusion, to the bit, small")


def test_fusion_weighs_each_layer() -> None:
    module, state = made(SPEC, combination="added")
    one = [run(module, state | {"adapter.fusion": torch.eye(2)[k]}) - backbone(state) for k in range(2)]
    both = run(module, state | {"adapter.fusion": torch.tensor([0.5, -2.0])})
    torch.testing.assert_close(both, backbone(state) + 0.5 * one[0] - 2 * one[1], atol=1e-5, rtol=1e-5)
    mean, same = made(SPEC)
    torch.testing.assert_close(run(mean, {k: state[k] for k in same}), (one[0] + one[1]) / 2, atol=1e-5, rtol=1e-5)


def test_an_adapting_layer_may_be_a_network() -> None:
    module, state = made(SPEC, joined=[2], adapting=5)
    assert state["adapter.predict.0.hidden.weight"].shape == (5, 32)
    assert run(module, state).shape == (3, 10)
