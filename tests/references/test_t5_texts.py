"""Texts from an encoder's bundle and a decoder's: those of transformers' `generate`, with the weights of a tiny T5."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from test_t5 import SPEC, reference
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import lamina
from lamina.cli import main
from lamina.compiler.elaborate import elaborate
from lamina.runtime import InputError, Session, generate, generate_stream
from lamina.runtime.bench import bench_decoding
from lamina.runtime.dtypes import Array
from lamina.runtime.generation.generate import stream, whole
from lamina.runtime.generation.options import Generation
from lamina.runtime.generation.prompts import Prompts
from lamina.runtime.generation.steps import Steps
from lamina.runtime.generation.texts import Generated

PROMPTS = [[5, 7, 9, 11, 13, 40, 41], [3, 4], [20, 21, 22, 90, 8], [17], [60, 61, 62, 63]]
ENDS = [1, 9, 49, 58, 89]
NEW = 12


@pytest.fixture(scope="module")
def model() -> Any:
    """Its weights are large and the head has its own, so that texts depend on the prompts and do not soon repeat themselves."""
    made = reference(elaborate(lamina.load(SPEC, small=True, tied=False)).config, "relu")
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim == 2:
                weight *= 3
    made.generation_config.update(eos_token_id=ENDS, decoder_start_token_id=0, pad_token_id=0)
    return made


@pytest.fixture(scope="module")
def checkpoint(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Hugging Face's: weights, config, how to generate, and a tokenizer of words, whose texts end with a token of their own."""
    folder = tmp_path_factory.mktemp("t5") / "checkpoint"
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    save_file({name: weight.detach().numpy() for name, weight in model.named_parameters()}, folder / "model.safetensors")
    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, **{f"w{i}": i for i in range(2, 96)}}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.add_special_tokens(["<pad>", "</s>"])
    words.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    words.save(str(folder / "tokenizer.json"))
    return folder


def compiled(checkpoint: Path, variant: str) -> Path:
    spec = lamina.load(SPEC, variant=variant, small=True, tied=False)
    return lamina.compile(spec, checkpoint.parent / variant, ["onnxruntime"], weights=checkpoint)


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> Iterator[Session]:
    with Session(compiled(checkpoint, "small-encoder")) as session:
        yield session


@pytest.fixture(scope="module")
def decoder(checkpoint: Path) -> Iterator[Session]:
    with Session(compiled(checkpoint, "small-decoder")) as session:
        yield session


def theirs(model: Any, num: int = 1, prompts: Sequence[list[int]] = PROMPTS, **options: Any) -> list[list[list[int]]]:
    """What `generate` of transformers writes about prompts that are padded on the right: in each text, up to an end."""
    length = max(map(len, prompts))
    ids = torch.tensor([prompt + [0] * (length - len(prompt)) for prompt in prompts])
    mask = torch.tensor([[1] * len(prompt) + [0] * (length - len(prompt)) for prompt in prompts])
    found = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, use_cache=False, num_return_sequences=num, **options)
    rows = []
    for row in found[:, options["decoder_input_ids"].shape[1] if "decoder_input_ids" in options else 1 :].tolist():
        end = next((index for index, token in enumerate(row) if token in ENDS), len(row) - 1)
        rows.append(row[: end + 1])
    return [rows[first : first + num] for first in range(0, len(rows), num)]


def grouped(found: Sequence[Generated], count: int = len(PROMPTS)) -> list[list[list[int]]]:
    return [[list(text.ids) for text in found if text.prompt == prompt] for prompt in range(count)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"repetition_penalty": 1.4},
        {"no_repeat_ngram_size": 1},
        {"min_new_tokens": 6, "suppress_tokens": [3, 50]},
        {"beams": 3},
        {"beams": 4, "length_penalty": 0.3, "early_stopping": True, "no_repeat_ngram_size": 2},
        {"beams": 2, "length_penalty": 2.0, "repetition_penalty": 1.4, "min_new_tokens": 4},
    ],
)
def test_texts_equal_transformers(model: Any, encoder: Session, decoder: Session, options: dict[str, Any]) -> None:
    beams = options.get("beams", 1)
    found = generate(decoder, PROMPTS, encoder, max_new_tokens=NEW, num_return=beams, **options)
    same = {name: value for name, value in options.items() if name != "beams"}
    assert grouped(found) == theirs(model, beams, num_beams=beams, max_new_tokens=NEW, **same)
    assert [text.prompt_tokens for text in found] == [len(prompt) for prompt in PROMPTS for _ in range(beams)]


def test_the_network_is_worth_it(encoder: Session, decoder: Session) -> None:
    """Texts differ and do not end together, so rows are dropped on the way."""
    texts = [text for (text,) in grouped(generate(decoder, PROMPTS, encoder, max_new_tokens=NEW))]
    assert len({tuple(text) for text in texts}) == len(PROMPTS)
    assert sorted(map(len, texts))[len(PROMPTS) // 2] < NEW
    assert len(set(map(len, texts))) > 2


@final
class Alone(Steps):
    """transformers' model on one row after the other, whole each time: nothing is padded, kept or reordered."""

    room = 100

    def __init__(self, model: Any) -> None:
        self._model = model

    def prompts(self, tokens: Sequence[Sequence[int]]) -> Prompts:
        self._rows = [(prompt, [0]) for prompt in tokens]
        return Prompts.of([[0]] * len(tokens), self.room)

    def start(self, ids: Array, mask: Array) -> Array:
        return np.stack([self._logits(*row) for row in self._rows])

    def step(self, ids: Array) -> Array:
        self._rows = [(prompt, [*text, token]) for (prompt, text), token in zip(self._rows, ids.tolist(), strict=True)]
        return np.stack([self._logits(*row) for row in self._rows])

    def reorder(self, rows: Sequence[int]) -> None:
        self._rows = [self._rows[row] for row in rows]

    def _logits(self, prompt: Sequence[int], text: Sequence[int]) -> Array:
        with torch.no_grad():
            made = self._model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([text]), use_cache=False)
        return made.logits[0, -1].numpy()


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.8, "seed": 3, "num_return": 3},
        {"temperature": 1.5, "top_k": 20, "top_p": 0.9, "seed": 4},
        {"beams": 4, "beam_groups": 2, "diversity": 0.7, "num_return": 4},
    ],
)
def test_rows_keep_to_their_prompts(model: Any, encoder: Session, decoder: Session, options: dict[str, Any]) -> None:
    """Draws and groups of beams, whose search others have compared: all the prompts together as each by itself."""
    found = generate(decoder, PROMPTS, encoder, max_new_tokens=NEW, **options)
    alone = whole(stream(Alone(model), None, PROMPTS, Generation(max_new_tokens=NEW, **options), ENDS))
    assert grouped(found) == grouped(alone)
    assert [text.logprob for text in found] == pytest.approx([text.logprob for text in alone], abs=1e-3)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 1, "num_return": 2}, {"beams": 3, "num_return": 2}])
def test_a_stream_is_the_texts(encoder: Session, decoder: Session, options: dict[str, Any]) -> None:
    texts = generate(decoder, PROMPTS, encoder, max_new_tokens=NEW, **options)
    pieces = list(generate_stream(decoder, PROMPTS, encoder=encoder, max_new_tokens=NEW, **options))
    for text in texts:
        mine = [piece for piece in pieces if (piece.prompt, piece.sample) == (text.prompt, text.sample)]
        assert tuple(token for piece in mine for token in piece.ids) == text.ids
        assert "".join(piece.text for piece in mine) == text.text
    assert options.get("beams") or len(pieces) == sum(len(text.ids) for text in texts)


@pytest.mark.parametrize("start", [[], ["--start", "5"]])
def test_the_command(
    start: list[str], model: Any, encoder: Session, decoder: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prompts end as the encoder's tokenizer ends them; it, and what generation_config.json says, are the decoder's too."""
    first = {"decoder_start_token_id": int(start[-1])} if start else {}
    want = theirs(model, prompts=[[60, 61, 3, 1], [20, 1]], max_new_tokens=NEW, num_beams=2, **first)
    given = ["-p", "w60 w61 w3", "-p", "w20", "--beams", "2", "--max-new-tokens", str(NEW), *start]
    monkeypatch.setattr(sys, "argv", ["lamina", "generate", str(decoder.folder), "--encoder", str(encoder.folder), *given])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    said = [" ".join(f"w{token}" for token in text if token not in (0, *ENDS)) for (text,) in want]
    assert sorted(capsys.readouterr().out.splitlines()) == [f"[0.0] {said[0]}", f"[1.0] {said[1]}"]  # printed as their searches end
    assert encoder.manifest.tokenizer is not None
    assert (encoder.manifest.tokenizer.start, encoder.manifest.tokenizer.eos) == ((0,), tuple(ENDS))


def test_another_start(model: Any, encoder: Session, decoder: Session) -> None:
    found = generate(decoder, PROMPTS, encoder, max_new_tokens=NEW, start=5)
    assert grouped(found) == theirs(model, max_new_tokens=NEW, decoder_start_token_id=5)
    two = generate(decoder, PROMPTS, encoder, max_new_tokens=NEW, start=[0, 5])
    given = torch.tensor([[0, 5]] * len(PROMPTS))
    assert grouped(two) == theirs(model, max_new_tokens=NEW, decoder_input_ids=given)


def test_paths_stand_for_sessions(encoder: Session, decoder: Session) -> None:
    found = generate(decoder.folder, PROMPTS, encoder.folder, max_new_tokens=3)
    assert grouped(found) == grouped(generate(decoder, PROMPTS, encoder, max_new_tokens=3))


def test_decoding_is_timed_with_the_encoder(
    encoder: Session, decoder: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = bench_decoding(decoder, prompt=7, tokens=3, encoder=encoder)
    assert (result.prompt, result.tokens) == (7, 3)
    assert result.prefill > 0
    assert result.decode > 0
    with pytest.raises(InputError, match="of the latter at most"):
        bench_decoding(decoder, prompt=7, tokens=10**6, encoder=encoder)
    sizes = ["--prompt", "5", "--tokens", "2"]
    monkeypatch.setattr(sys, "argv", ["lamina", "bench", str(decoder.folder), "--encoder", str(encoder.folder), *sizes])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "prompt of 5 at" in capsys.readouterr().out
