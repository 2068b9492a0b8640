"""Polyhistor: adapters whose weights follow from a task, against transformers' Swin and SegFormer's head with the formulas between them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from evidence import Record
from fill import Scale, fill, image
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Derived
from lamina.compiler.lower import lower

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "polyhistor.yaml"
NAMES = ("semantic", "parts", "normals", "saliency")
CHANNELS = (21, 7, 3, 1)
DEPTHS, PLACES = (2, 1, 2, 1), ("attn", "mlp")
Tensors = dict[str, torch.Tensor]
PIXELS = image((2, 3, 64, 96))
LIVELY = (Scale("adapter.tasks", 0.0, 0.7), Scale("*.kernel", 0.0, 2.0))  # so that adapters matter


def made(variant: str, **config: Any) -> tuple[Any, Tensors]:
    module = lamina.to_torch(lamina.load(SPEC, variant, small=True, **config)).eval()
    return module, {k: torch.from_numpy(np.asarray(fill(k, tuple(v.shape), LIVELY))) for k, v in module.state_dict().items()}


def run(module: Any, state: Tensors, *inputs: torch.Tensor, alone: str = "") -> Tensors:
    module.load_state_dict(state)
    with torch.no_grad():
        found = module(torch.from_numpy(PIXELS), *inputs)
    return {alone: found} if alone else dict(found)


def at(stage: int, block: int, place: str) -> str:
    return f"stages.{stage}.blocks.{block}.block.{place}.adapter.bottleneck"


def low_rank(state: Tensors, path: str, code: torch.Tensor) -> torch.Tensor:
    """Its two factors follow from the task's embedding."""
    left, right = (state[f"{path}.{side}.weight"].double() @ code.double() for side in ("left", "right"))
    return left.reshape(-1, 2) @ right.reshape(2, -1)


def weights_of(state: Tensors, variant: str, task: int) -> Tensors:
    """The two matrices of each adapter, by the paper's construction."""
    found: Tensors = {}
    code = state.get("adapter.tasks", torch.zeros(4))[task]
    for i, depth in enumerate(DEPTHS):
        for path, k in ((at(i, j, place), k) for j in range(depth) for k, place in enumerate(PLACES)):
            for half in ("down", "up"):
                if variant == "stored":
                    found[f"{path}.{half}"] = state[f"{path}.{half}.weight"][task].double()
                elif variant == "full":
                    found[f"{path}.{half}"] = low_rank(state, f"{path}.{half}.hypernetwork", code)
                else:
                    template = low_rank(state, f"adapter.{half}.{k}", code)
                    found[f"{path}.{half}"] = torch.kron(state[f"{path}.{half}.kernel"].double(), template)
    return found


def swin(state: Tensors) -> Any:
    """transformers' network in float64, with the weights of ours."""
    config = transformers.SwinConfig(
        embed_dim=8, depths=list(DEPTHS), num_heads=[1, 2, 2, 4], window_size=2, image_size=64
    )  # fmt: skip
    model = transformers.SwinModel(config, add_pooling_layer=False).eval().double()
    own = {"embeddings.patch_embeddings.projection": "patch_embed.proj", "embeddings.norm": "patch_embed.norm"}
    own |= {f"encoder.layers.{i - 1}.downsample.{part}": f"stages.{i}.merge.{part}" for i in (1, 2, 3) for part in ("norm", "reduction")}
    pairs = {"layernorm_before": "norm1", "layernorm_after": "norm2", "attention.o_proj": "attn.proj"}
    pairs |= {name: name for name in ("mlp.fc1", "mlp.fc2")}
    found: Tensors = {}
    for i, j in ((i, j) for i, depth in enumerate(DEPTHS) for j in range(depth)):
        theirs, ours = f"encoder.layers.{i}.blocks.{j}", f"stages.{i}.blocks.{j}.block"
        own |= {f"{theirs}.{a}": f"{ours}.{b}" for a, b in pairs.items()}
        for part in ("weight", "bias"):
            thirds = state[f"{ours}.attn.qkv.{part}"].chunk(3)
            found |= {f"{theirs}.attention.{n}_proj.{part}": third for n, third in zip("qkv", thirds, strict=True)}
        table = f"{ours}.attn.relative_position_bias_table"
        found[f"{theirs}.attention.relative_position_bias.relative_position_bias_table"] = state[table]
    found |= {
        f"{a}.{part}": state[f"{b}.{part}"] for a, b in own.items() for part in ("weight", "bias") if f"{b}.{part}" in state
    }  # fmt: skip
    missing = model.load_state_dict(found, strict=False)
    assert not missing.unexpected_keys
    assert all("index" in k or k.startswith("layernorm.") for k in missing.missing_keys)
    return model


def reference(state: Tensors, weights: Tensors, task: int) -> torch.Tensor:
    """x + W_up gelu(W_down x) behind attention and behind the MLP of each block, and the head on the four scales."""
    model = swin(state)

    def behind(path: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> Any:
            x = output[0] if isinstance(output, tuple) else output
            y = x + torch.nn.functional.gelu(x @ weights[f"{path}.down"].T) @ weights[f"{path}.up"].T
            return (y, *output[1:]) if isinstance(output, tuple) else y

        return hook

    for i, stage in enumerate(model.encoder.layers):
        for j, block in enumerate(stage.blocks):
            block.attention.register_forward_hook(behind(at(i, j, "attn")))
            block.mlp.register_forward_hook(behind(at(i, j, "mlp")))
    head = transformers.models.segformer.modeling_segformer.SegformerDecodeHead(
        transformers.SegformerConfig(hidden_sizes=[8, 16, 32, 64], decoder_hidden_size=6, num_labels=CHANNELS[task])
    )
    own = {f"linear_projections.{i}.proj": f"proj.{i}" for i in range(4)}
    own |= {"linear_fuse": "fuse", "batch_norm": "norm", "classifier": "classifier"}
    held = head.state_dict()
    for key in held:
        name, _, part = key.rpartition(".")
        if part != "num_batches_tracked":
            held[key] = state[f"adapter.{NAMES[task]}_head.{own[name]}.{part}"]
    head.load_state_dict(held)
    with torch.no_grad():
        features = model(torch.from_numpy(PIXELS).double(), output_hidden_states=True, output_hidden_states_before_downsampling=True)
        found: torch.Tensor = head.eval().double()(features.reshaped_hidden_states[-4:])
    return found


@pytest.mark.parametrize(
    ("variant", "tasks"), [("lite", range(4)), ("full", range(4)), ("stored", range(4)), ("semantic", range(1)), ("base", range(1))]
)
def test_each_task_has_adapters_and_a_head_of_its_own(variant: str, tasks: range, tmp_path: Path, record: Record) -> None:
    """One graph gives what transformers' networks and the formulas give for each task by itself."""
    module, state = made(variant)
    save_file({k: v.numpy() for k, v in state.items()}, tmp_path / "weights.safetensors")
    spec = lamina.load(SPEC, variant, small=True)
    session = lamina.Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))
    worst = 0.0
    for found in (run(module, state, alone=NAMES[0] if len(tasks) == 1 else ""), session(image=PIXELS)):
        assert list(found) == [NAMES[task] for task in tasks]
        for task in tasks:
            want = reference(state, weights_of(state, variant, task), task).numpy()
            assert found[NAMES[task]].shape == want.shape == (2, CHANNELS[task], 16, 24)
            worst = max(worst, float(np.abs(np.asarray(found[NAMES[task]]) - want).max() / np.abs(want).max()))
    assert worst <= 1e-5
    record(SPEC, variant, "parity", f"{worst:.0e} of transformers' Swin and SegFormer's head with the formulas between, small")


def test_adapters_of_different_tasks_differ() -> None:
    _, state = made("lite")
    one, other = (reference(state, weights_of(state, "lite", task), 0) for task in (0, 1))
    assert (other - one).abs().max() > 0.1 * one.abs().max()


@pytest.mark.parametrize("variant", ["lite", "full"])
def test_generated_weights_are_those_of_stored_adapters(variant: str, tmp_path: Path) -> None:
    """For a chosen task they fold to constants: operators are those of adapters that are stored, and outputs those of the hypernetwork."""
    module, state = made(variant, tasks=[2])
    want = run(module, state, alone="normals")["normals"]
    size = float(want.abs().max())
    plain, stored = made("stored", tasks=[2])
    stored = {k: state.get(k, v) for k, v in stored.items()}
    sets = [weights_of(state, variant, task) for task in range(4)]
    stored |= {f"{k}.weight": torch.stack([one[k] for one in sets]).float() for k in sets[0]}
    np.testing.assert_allclose(run(plain, stored, alone="normals")["normals"], want, atol=1e-5 * size)
    files = {}
    for name, weights in ((variant, state), ("stored", stored)):
        save_file({k: v.numpy() for k, v in weights.items()}, tmp_path / f"{name}.safetensors")
        spec = lamina.load(SPEC, name, small=True, tasks=[2])
        files[name] = lamina.compile(spec, tmp_path / name, ["onnx", "onnxruntime"], tmp_path / f"{name}.safetensors")
        np.testing.assert_allclose(lamina.Session(files[name])(image=PIXELS)["normals"], want, atol=1e-5 * size)
    for file in ("model.onnx", "model.ort.onnx"):
        ours, theirs = (Counter(n.op_type for n in onnx.load(files[k] / file, load_external_data=False).graph.node) for k in files)
        assert ours == theirs


def test_folding_leaves_no_trace_of_the_hypernetwork() -> None:
    """All that its weights go through is computed when weights are written."""
    graph = elaborate(lamina.load(SPEC, "lite", small=True, tasks=[0])).graph
    own = {p.name for p in graph.parameters() if p.name.endswith(("kernel", "left.weight", "right.weight", "tasks"))}
    lowered = lower(graph, "onnx")
    read = {v for node in lowered.nodes for v in node.inputs if v is not None}
    assert len(own) == 9 + 2 * len(PLACES) * sum(DEPTHS)
    assert not own & {v.name for v in read}
    assert sum(isinstance(v, Derived) and "bottleneck" in v.name for v in read) == 2 * len(PLACES) * sum(DEPTHS)


def test_the_task_may_be_an_input_of_each_image(record: Record) -> None:
    every, state = made("lite")
    module, _ = made("lite", given=True)
    want = run(every, state)
    for pair in ((0, 3), (2, 1)):
        found = run(module, state, torch.tensor(pair))
        for n, task in enumerate(pair):
            torch.testing.assert_close(found[NAMES[task]][n], want[NAMES[task]][n], atol=1e-5, rtol=1e-4)
    record(SPEC, "given", "parity", "what each task's own pass gives, small")


def test_new_adapters_change_nothing() -> None:
    """Whatever the task, since the second matrices start at zero; so the same head sees the same of each."""
    module = lamina.to_torch(lamina.load(SPEC, "lite", small=True, channels=[5] * 4)).eval()
    state = module.state_dict()
    for name in NAMES[1:]:
        state |= {k.replace("semantic", name): v for k, v in state.items() if "semantic" in k}
    found = run(module, state)
    assert found["semantic"].std() > 1e-3
    for name in NAMES[1:]:
        torch.testing.assert_close(found[name], found["semantic"])


def test_templates_are_fewer_weights_than_hypernetworks_and_than_adapters() -> None:
    """Of the same bottlenecks: a template serves all widths, and factors all tasks."""

    def trained(variant: str) -> int:
        parameters = elaborate(lamina.load(SPEC, variant)).graph.parameters()
        return sum(int(np.prod(p.shape)) for p in parameters if "adapter." in p.name and "_head" not in p.name)

    widths = [96 * 2**i for i, depth in enumerate((2, 2, 6, 2)) for _ in range(depth)]
    assert trained("stored") == 4 * 2 * sum(2 * d * d // 4 for d in widths)
    assert trained("full") == 4 * 64 + 2 * 2 * sum(64 * 8 * (d + d // 4) for d in widths)
    assert trained("lite") == 4 * 64 + 2 * 2 * (64 * 8 * (96 + 24) + sum((d // 96) ** 2 for d in widths))
