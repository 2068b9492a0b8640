"""T5 against transformers: both forms of its feed-forward, padded sources, the decoder piece by piece, and its two parts by themselves."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from causal_lm import tokens
from evidence import Record
from fill import fill
from safetensors.numpy import save_file
from transformers.models.t5.modeling_t5 import T5Attention

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.runtime import Session

Array = np.ndarray[Any, Any]
SPEC = Path(__file__).parents[2] / "specs" / "language" / "t5.yaml"
WHOLE = [name for name in lamina.load(SPEC).variants if elaborate(lamina.load(SPEC, variant=name, small=True)).config["part"] == "whole"]
KEYS = {
    "vocabulary": "vocab_size", "dim": "d_model", "layers": "num_layers", "decoder_layers": "num_decoder_layers", "heads": "num_heads",
    "head_dim": "d_kv", "hidden": "d_ff", "buckets": "relative_attention_num_buckets", "max_distance": "relative_attention_max_distance",
    "eps": "layer_norm_epsilon", "tied": "tie_word_embeddings",
}  # fmt: skip
FORMS = {"small": "relu", "base": "relu", "v1.1-small": "gated-gelu", "v1.1-base": "gated-gelu", "ul2-20b": "gated-silu"}
SOURCE, TARGET = tokens(3, 14, 96), tokens(3, 15, 96)[:, ::-1].copy()  # farther apart than the largest distance
MASK = (np.arange(14) < np.array([14, 9, 12])[:, None]).astype(np.int64)


def reference(config: Mapping[str, Any], form: str) -> Any:
    """The model of transformers with this config of ours, which ties the head unless it has a matrix of its own by then."""
    made = transformers.T5Config(**{theirs: config[ours] for ours, theirs in KEYS.items()}, feed_forward_proj=form)
    model = transformers.T5ForConditionalGeneration(made).eval()
    if not config["tied"]:
        model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(torch.from_numpy(fill(name, tuple(weight.shape))))
    return model


def session(model: Any, folder: Path, **options: Any) -> Session:
    """Ours, compiled from a folder of Hugging Face's kind, which holds no tokenizer."""
    checkpoint = folder / "checkpoint"
    model.config.save_pretrained(checkpoint)
    save_file({name: weight.detach().numpy() for name, weight in model.named_parameters()}, checkpoint / "model.safetensors")
    spec = lamina.load(SPEC, small=True, **options).model_copy(update={"tokenizer": None})
    return Session(lamina.compile(spec, folder / f"bundle-{spec.model}-{options}", weights=checkpoint))


def theirs(model: Any) -> Any:
    with torch.no_grad():
        given = {"input_ids": SOURCE, "attention_mask": MASK, "decoder_input_ids": TARGET}
        return model(**{k: torch.from_numpy(v) for k, v in given.items()}, use_cache=True)


def pieces(session: Session, **source: Array) -> Array:
    stream = session.stream()
    return np.concatenate(
        [stream(**source, decoder_input_ids=TARGET[:, a:b])["logits"] for a, b in itertools.pairwise((0, 4, 5, 6, 9, 15))], axis=1
    )


def error(got: Array, want: torch.Tensor) -> float:
    return float(np.abs(got - want.numpy()).max() / want.abs().max())


@pytest.mark.parametrize("variant", WHOLE)
def test_logits(variant: str, tmp_path: Path, record: Record) -> None:
    model = reference(elaborate(lamina.load(SPEC, variant=variant, small=True)).config, FORMS[variant])
    ours, want = session(model, tmp_path, variant=variant, every=True), theirs(model).logits
    assert ours.manifest.parameters == model.num_parameters()
    source = {"input_ids": SOURCE, "attention_mask": MASK}
    worst = max(error(ours(**source, decoder_input_ids=TARGET)["logits"], want), error(pieces(ours, **source), want))
    assert worst < 2e-5
    record(SPEC, variant, "parity", f"{worst:.0e} of transformers {transformers.__version__}, small")


def test_parts(tmp_path: Path, record: Record) -> None:
    """The encoder gives what transformers caches of the source, and the decoder gets by with it."""
    model = reference(elaborate(lamina.load(SPEC, small=True)).config, "relu")
    found = theirs(model)
    encoder = session(model, tmp_path, variant="small-encoder")
    decoder = session(model, tmp_path, variant="small-decoder", every=True)
    assert encoder.manifest.parameters + decoder.manifest.parameters == model.num_parameters() + model.shared.weight.numel()
    made = encoder(input_ids=SOURCE, attention_mask=MASK)
    cache = found.past_key_values.cross_attention_cache.layers
    seen = MASK.astype(bool)
    worst = error(made["encoded"][seen], found.encoder_last_hidden_state[torch.from_numpy(seen)])
    for i, layer in enumerate(cache):
        for name, want in (("keys", layer.keys), ("values", layer.values)):
            got = made[name][:, i].swapaxes(1, 2)[seen]
            worst = max(worst, error(got, want.transpose(1, 2)[torch.from_numpy(seen)]))
    assert worst < 2e-5
    record(SPEC, "small-encoder", "parity", f"{worst:.0e} of transformers {transformers.__version__}, small")
    worst = error(pieces(decoder, attention_mask=MASK, keys=made["keys"], values=made["values"]), found.logits)
    assert worst < 2e-5
    record(SPEC, "small-decoder", "parity", f"{worst:.0e} of transformers {transformers.__version__}, small")


def test_greedy_text(tmp_path: Path) -> None:
    """Encode once, then one token at a time: what `generate` of transformers finds."""
    model = reference(elaborate(lamina.load(SPEC, small=True)).config, "relu")
    model.generation_config.eos_token_id = None
    source = {"input_ids": torch.from_numpy(SOURCE), "attention_mask": torch.from_numpy(MASK)}
    want = model.generate(**source, max_new_tokens=10, do_sample=False, use_cache=False, decoder_start_token_id=0, pad_token_id=0).numpy()
    made = session(model, tmp_path, variant="small-encoder")(input_ids=SOURCE, attention_mask=MASK)
    step = session(model, tmp_path, variant="small-decoder").stream()
    found = [np.zeros((3, 1), np.int64)]
    for _ in range(10):
        logits = step(attention_mask=MASK, keys=made["keys"], values=made["values"], decoder_input_ids=found[-1])["logits"]
        found.append(logits.argmax(-1))
    np.testing.assert_array_equal(np.concatenate(found, axis=1), want)


@pytest.mark.parametrize(("buckets", "longest", "causal"), [(32, 128, False), (32, 128, True), (8, 10, True), (20, 500, False)])
def test_buckets(buckets: int, longest: int, causal: bool, tmp_path: Path) -> None:
    """Which distances share a number: the bias of a table that holds each bucket's own."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"""
lamina: 1
model: bias
use: [attention]
inputs: {{x: "float32[T]", y: "float32[S]"}}
dims: {{T: {{min: 1, opt: 8, max: 64}}, S: {{min: 1, opt: 8, max: 2000}}}}
body: ["relative_bias(1, T, T + S, {buckets}, {longest}, {causal}, name='bias') + 0 * concat([x, y], dim=0)"]
outputs: {{added: "float32[1, T, T + S]"}}
""")
    save_file({"bias.weight": np.arange(buckets, dtype=np.float32)[:, None]}, tmp_path / "w.safetensors")
    session = Session(lamina.compile(lamina.load(spec), tmp_path / "bundle", weights=tmp_path / "w.safetensors"))
    got = session(x=np.zeros(40, np.float32), y=np.zeros(1000, np.float32))["added"][0]
    distance = torch.arange(1040) - torch.arange(1000, 1040)[:, None]
    want = T5Attention._relative_position_bucket(distance, not causal, buckets, longest)
    np.testing.assert_array_equal(got, want.numpy())
