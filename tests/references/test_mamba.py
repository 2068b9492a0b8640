"""Mamba and Mamba-2 against transformers: padded rows, groups, both kinds of heads, piece by piece, and the parameters of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from causal_lm import filled, session, tokens, worst
from evidence import Record
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.summary import parameter_count

LANGUAGE = Path(__file__).parents[2] / "specs" / "language"
MAMBA, MAMBA2 = LANGUAGE / "mamba.yaml", LANGUAGE / "mamba2.yaml"
CASES = [(path, variant) for path in (MAMBA, MAMBA2) for variant in lamina.load(path).variants]
KEYS = {
    "vocabulary": "vocab_size", "dim": "hidden_size", "layers": "num_hidden_layers", "states": "state_size", "kernel": "conv_kernel",
    "expand": "expand", "eps": "layer_norm_epsilon",
}  # fmt: skip
KEYS2 = {"heads": "num_heads", "head_dim": "head_dim", "groups": "n_groups", "tied": "tie_word_embeddings"}
each = pytest.mark.parametrize(("path", "variant"), CASES, ids=[f"{path.stem}-{variant}" for path, variant in CASES])


def reference(path: Path, config: Mapping[str, Any]) -> Any:
    """The model of transformers with this config of ours."""
    if path == MAMBA:
        made = transformers.MambaConfig(**{theirs: config[ours] for ours, theirs in KEYS.items()}, use_cache=False)
        return transformers.MambaForCausalLM(made)
    options = {theirs: config[ours] for ours, theirs in (KEYS | KEYS2).items()}
    return transformers.Mamba2ForCausalLM(transformers.Mamba2Config(**options, chunk_size=4, use_cache=False))


@each
def test_logits(path: Path, variant: str, tmp_path: Path, record: Record) -> None:
    spec = lamina.load(path, variant=variant, small=True, every=True)
    model = filled(reference(path, elaborate(spec).config))
    ours = session(model, spec, tmp_path)
    assert ours.manifest.parameters == model.num_parameters()
    error = worst(model, ours, tokens(3, 12, 96), np.array([0, 4, 7]))
    assert error < 2e-5
    record(path, variant, "parity", f"{error:.0e} of transformers {transformers.__version__}, small")


@each
def test_parameters_of_the_whole(path: Path, variant: str) -> None:
    found = elaborate(lamina.load(path, variant=variant))
    with torch.device("meta"):
        model = reference(path, found.config)
    assert parameter_count(found.graph) == model.num_parameters()


@pytest.mark.parametrize("path", [MAMBA, MAMBA2], ids=["mamba", "mamba2"])
def test_only_the_last_logits(path: Path, tmp_path: Path) -> None:
    spec = lamina.load(path, small=True)
    model = filled(reference(path, elaborate(spec).config))
    ids = tokens(2, 7, 96)
    with torch.no_grad():
        expected = model(torch.from_numpy(ids)).logits[:, -1:].numpy()
    logits = session(model, spec, tmp_path)(input_ids=ids, attention_mask=np.ones_like(ids))["logits"]
    np.testing.assert_allclose(logits, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("path", [MAMBA, MAMBA2], ids=["mamba", "mamba2"])
def test_prompts_of_different_lengths_go_on_together(path: Path, tmp_path: Path) -> None:
    """Each as transformers goes on with it alone."""
    spec = lamina.load(path, small=True)
    model = filled(reference(path, elaborate(spec).config))
    model.save_pretrained(tmp_path / "checkpoint")
    words = Tokenizer(WordLevel({str(token): token for token in range(96)}, unk_token="0"))
    words.save(str(tmp_path / "checkpoint" / "tokenizer.json"))
    prompts = [row[: 3 + 2 * i].tolist() for i, row in enumerate(tokens(3, 7, 96))]
    found = lamina.generate(lamina.compile(spec, tmp_path / "bundle", weights=tmp_path / "checkpoint"), prompts, max_new_tokens=12, eos=())
    assert [list(text.ids) for text in found] == [_continued(model, prompt, 12) for prompt in prompts]


def _continued(model: Any, prompt: list[int], count: int) -> list[int]:
    """The likeliest token, again and again."""
    ids = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]
