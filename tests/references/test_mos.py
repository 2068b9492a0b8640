"""MoS against transformers' decoder, whose matrices have the products of joined shards added; and what its pools hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from adapted_lm import IDS, Tensors, logits, ours, plain
from evidence import Record
from safetensors.torch import save_file

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.runtime import Session

SPEC = Path(__file__).parents[2] / "specs" / "adapter" / "mos.yaml"
BASE = SPEC.parents[1] / "language" / "llama.yaml"
KINDS = ["q", "k", "v", "o", "gate", "up", "down"]
VARIANT = "llama-2-7b"


def tables(module: Any) -> Tensors:
    return {name: value for name, value in module.state_dict().items() if name.endswith("indices")}


def merged(state: Tensors, config: Mapping[str, Any]) -> Any:
    """A vector at a time: each is its shards one after the other."""
    model = plain(state, config)
    rank, shards = config["rank"], config["shards"]
    for name, part in model.model.named_modules():
        if isinstance(part, torch.nn.Linear):
            kind = KINDS.index(name.split(".")[-1].removesuffix("_proj"))
            a, b = ([], [])
            for vectors, pool, which in ((a, f"adapter.first.{kind}", "a"), (b, f"adapter.second.{kind}", "b")):
                table = state[f"{name}.adapter.{which}.indices"].tolist()
                for r in range(rank):
                    vectors.append(torch.cat([state[pool][table[r * shards + s]] for s in range(shards)]))
            part.weight.data += config["alpha"] / rank * sum(torch.outer(v, u) for u, v in zip(a, b, strict=True))
    return model


@pytest.mark.parametrize("variant", lamina.load(SPEC).variants)
def test_logits(variant: str, tmp_path: Path, record: Record) -> None:
    module, state, config = ours(SPEC, variant)
    state |= tables(module)
    save_file(state, tmp_path / "weights.safetensors")
    spec = lamina.load(SPEC, variant=variant, small=True, every=True).model_copy(update={"tokenizer": None})
    session = Session(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "weights.safetensors"))
    with torch.no_grad():
        want = merged(state, config)(IDS).logits
    got = session(input_ids=IDS.numpy(), attention_mask=np.ones_like(IDS.numpy()))["logits"]
    error = max(float((torch.as_tensor(y) - want).abs().max() / want.abs().max()) for y in (got, logits(module, state, config)))
    assert error < 1e-5
    record(SPEC, variant, "parity", f"{error:.0e} of transformers {transformers.__version__} with the products merged, small")


def test_a_compiled_graph_has_no_more_operators_than_its_base(tmp_path: Path) -> None:
    found = []
    for path in (SPEC, BASE):
        spec = lamina.load(path, variant=VARIANT, small=True).model_copy(update={"tokenizer": None})
        bundle = lamina.compile(spec, tmp_path / path.stem, ["onnx", "onnxruntime"])
        graphs = [onnx.load(bundle / file, load_external_data=False).graph for file in ("model.onnx", "model.ort.onnx")]
        found.append([sorted(node.op_type for node in graph.node) for graph in graphs])
    assert found[0] == found[1]


@pytest.mark.parametrize(("variant", "published"), [("llama-2-7b", 5.00), ("llama-2-7b-32", 19.99)])
def test_pools_are_as_small_as_published(variant: str, published: float) -> None:
    """In millions; a LoRA of rank 64, which the larger is as good as, has 159.91."""
    graph = elaborate(lamina.load(SPEC, variant=variant)).graph
    count = sum(int(np.prod(p.shape)) for p in graph.parameters() if p.trainable and p.name.startswith("adapter."))
    assert round(count / 1e6, 2) == published
    assert round(64 * (4 * 2 * 4096 + 3 * (4096 + 11008)) * 32 / 1e6, 2) == 159.91


def test_shards_are_shared_paired_anew_and_some_are_private() -> None:
    module, _, config = ours(SPEC, VARIANT, layers=4)
    found = tables(module)
    own = config["private"] * config["shards"]
    for kind in ("self_attn.q_proj", "mlp.down_proj"):
        first, second = ([found[f"layers.{i}.{kind}.adapter.{m}.indices"].tolist() for i in range(4)] for m in "ab")
        for table in (first, second):
            uses = Counter(chain(*table))
            assert all(uses[n] == 1 for row in table for n in row[:own])
            assert sorted(uses) == list(range(config["stored"] * config["shards"] * 4))
            assert min(uses[n] for row in table for n in row[own:]) > 1
            assert all(len(set(row)) == len(row) for row in table)
        assert all(a[own:] != b[own:] for a, b in zip(first, second, strict=True))


def test_with_private_ranks_alone_it_is_lora() -> None:
    module, state, config = ours(SPEC, VARIANT, rank=2, private=2, shards=1)
    state |= tables(module)
    lora = merged(state, config)
    for i in range(config["layers"]):
        torch.testing.assert_close(
            lora.model.layers[i].mlp.up_proj.weight - plain(state, config).model.layers[i].mlp.up_proj.weight,
            8 * state["adapter.second.5"][2 * i : 2 * i + 2].T @ state["adapter.first.5"][2 * i : 2 * i + 2],
        )
    with torch.no_grad():
        torch.testing.assert_close(logits(module, state, config), lora(IDS).logits, atol=1e-4, rtol=1e-4)
