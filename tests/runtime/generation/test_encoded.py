"""A decoder with an encoder whose sums can be done by hand: how prompts are padded, what follows the rows, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import lamina
from lamina.runtime import BundleError, InputError, generate

ENCODER = """
lamina: 1
model: encoder
inputs: {ids: "int64[N, S]", mask: "int64[N, S]"}
dims: {N: {min: 1, opt: 2, max: 16}, S: {min: 1, opt: 4, max: 8}}
body:
  - step = cast(sum(where(mask != 0, ids, zeros([1, 1], dtype='int64')), dims=1), 'float32')
  - offset = full([1], 2.0)
outputs: {step: "float32[N]", offset: "float32[1]"}
tokenizer: {ids: ids, mask: mask}
"""
DECODER = """
lamina: 1
model: decoder
inputs: {step: "float32[N]", tokens: "int64[N, T]", offset: "float32[1]"}
dims: {N: {min: 1, opt: 2, max: 16}, T: {min: 1, opt: 1, max: 4}}
state: {count: "float32[N]"}
body:
  - count = count + 1
  - next = cast(tokens[:, -1], 'float32') + step * count + offset
  - -abs(cast(arange(200), 'float32') - next[:, None])
outputs: {logits: "float32[N, 200]"}
"""
PROMPTS = [[1, 2], [1], [2, 2, 1]]


def compiled(folder: Path, text: str, changes: Mapping[str, str] | None = None, padding: Mapping[str, Any] | None = None) -> Path:
    """A bundle of the spec with these changes, whose tokenizer, of words that are numbers, pads like this."""
    for old, new in (changes or {}).items():
        assert old in text
        text = text.replace(old, new)
    folder.mkdir(exist_ok=True)
    (folder / "spec.yaml").write_text(text)
    words = Tokenizer(models.WordLevel({f"{i}": i for i in range(200)}, unk_token="0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if padding is not None:
        words.enable_padding(**padding)
    words.save(str(folder / "tokenizer.json"))
    return lamina.compile(lamina.load(folder / "spec.yaml"), folder / "bundle", ["onnxruntime"])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("encoder"), ENCODER)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("decoder"), DECODER)


def wanted(prompt: list[int], start: int = 0, count: int = 4) -> list[int]:
    """Token n is the one before it, and n times the sum of the prompt, and two."""
    found = [start]
    for n in range(1, count + 1):
        found.append(found[-1] + n * sum(prompt) + 2)
    return found[1:]


@pytest.mark.parametrize("options", [{}, {"beams": 3}, {"beams": 2, "beam_groups": 2}, {"temperature": 1e-6, "num_return": 2}])
@pytest.mark.parametrize(
    ("size", "padding"),
    [
        ("min: 1, opt: 4, max: 8", None),
        ("min: 1, opt: 4, max: 8", {"direction": "left", "pad_id": 7}),
        ("min: 1, opt: 4, max: 8", {"direction": "right", "pad_id": 7, "length": 8}),
        ("min: 4, opt: 4, max: 8, multiple_of: 4", {"pad_id": 9}),
    ],
)
def test_rows(tmp_path: Path, decoder: Path, options: dict[str, Any], size: str, padding: dict[str, Any] | None) -> None:
    """Whatever stands beside a prompt; what has no row for each prompt is given to all as it is."""
    encoder = compiled(tmp_path / "encoder", ENCODER, {"min: 1, opt: 4, max: 8": size}, padding)
    found = generate(decoder, PROMPTS, encoder, max_new_tokens=4, start=0, **options)
    assert [list(text.ids) for text in found if text.sample == 0] == [wanted(prompt) for prompt in PROMPTS]


def test_a_size_that_is_fixed(tmp_path: Path, decoder: Path) -> None:
    encoder = compiled(tmp_path / "encoder", ENCODER, {"[N, S]": "[N, 5]", ", S: {min: 1, opt: 4, max: 8}": ""})
    found = generate(decoder, PROMPTS, encoder, max_new_tokens=4, start=0)
    assert [list(text.ids) for text in found] == [wanted(prompt) for prompt in PROMPTS]


def test_types_are_zeros(tmp_path: Path, decoder: Path) -> None:
    """A prompt is one text, which has one type."""
    types = {
        ', mask: "int64[N, S]"': ', mask: "int64[N, S]", types: "int64[N, S]"',
        "mask: mask": "mask: mask, types: types",
        ", ids, z": ", ids + types, z",
    }
    encoder = compiled(tmp_path / "encoder", ENCODER, types, {"pad_id": 7})
    found = generate(decoder, PROMPTS, encoder, max_new_tokens=4, start=0)
    assert [list(text.ids) for text in found] == [wanted(prompt) for prompt in PROMPTS]


def test_rows_that_end_are_dropped(encoder: Path, decoder: Path) -> None:
    """What is left goes on with its own prompts."""
    prompts = [[2, 2], [1], [1, 2], [2], [2, 2], [2, 2]]
    found = generate(decoder, prompts, encoder, max_new_tokens=8, start=0, eos=[6])
    assert [list(text.ids) for text in found] == [wanted(p, count=8) if sum(p) < 4 else [6] for p in prompts]


def test_texts(encoder: Path, decoder: Path) -> None:
    """The encoder's tokenizer reads prompts and writes texts; `stop` is found in them."""
    one, two = generate(decoder, ["1 2", "1"], encoder, max_new_tokens=3, start=[9, 1])
    assert (one.text, two.text) == (" ".join(map(str, wanted([3], 1, 3))), " ".join(map(str, wanted([1], 1, 3))))
    assert (one.prompt_tokens, two.prompt_tokens) == (2, 1)
    (stopped,) = generate(decoder, "1 2", encoder, start=1, stop="14")
    assert (stopped.text, stopped.finish) == ("6 ", "stop")


def test_the_decoders_own_tokenizer(tmp_path: Path, encoder: Path) -> None:
    """It says what the tokens of texts are, and which input takes them, though the encoder has one of that name."""
    own = {"tokens": "ids", "outputs:": "tokenizer: {ids: ids}\noutputs:"}
    decoder = compiled(tmp_path / "decoder", DECODER, own)
    (found,) = generate(decoder, [[1, 2]], encoder, max_new_tokens=4, start=0)
    assert list(found.ids) == wanted([1, 2])


NO_MASK = {', mask: "int64[N, S]"': "", ", mask: mask": "", "where(mask != 0, ids, zeros([1, 1], dtype='int64'))": "ids"}
OTHER = {'offset: "float32[1]"': 'other: "float32[1]"', "+ offset": "+ other"}


@pytest.mark.parametrize(
    ("changes", "prompts", "said"),
    [
        (
            {'step: "float32[N]"': 'size: "float32[N]"', "step =": "size =", "offset": "other"},
            PROMPTS,
            "takes nothing that the encoder gives",
        ),
        (
            {'step: "float32[N]"': 'step: "float32[N, 1]"', "'float32')": "'float32')[:, None]"},
            PROMPTS,
            "has `step: float32\\[N, 1\\]` and",
        ),
        ({"'float32'": "'float64'", 'step: "float32': 'step: "float64'}, PROMPTS, "takes `step: float32\\[N\\]`; are they of one model"),
        ({"full([1]": "full([3]", '"float32[1]"': '"float32[3]"'}, PROMPTS, "has `offset: float32\\[3\\]` and"),
        (NO_MASK, PROMPTS, "the encoder takes no mask, so prompts of 2, 1, 3 tokens cannot be padded to 3"),
        ({}, [[1], [1] * 9], "prompt 1 has 9 tokens, and the model has room for 8"),
        ({}, [[1], []], "prompt 1 is empty"),
        ({}, [], "there is no prompt"),
        ({}, [[1], "1"], "prompts are all texts, or all tokens"),
        ({}, [[1]] * 17, "`ids` has shape \\[17, 1\\]"),
    ],
)
def test_encoders_and_prompts_that_will_not_do(tmp_path: Path, decoder: Path, changes: dict[str, str], prompts: Any, said: str) -> None:
    encoder = compiled(tmp_path / "encoder", ENCODER, changes)
    with pytest.raises(InputError, match=said):
        generate(decoder, prompts, encoder, start=0)


def test_prompts_of_one_length_need_no_mask(tmp_path: Path, decoder: Path) -> None:
    encoder = compiled(tmp_path / "encoder", ENCODER, NO_MASK)
    found = generate(decoder, [[1, 2], [2, 2]], encoder, max_new_tokens=4, start=0)
    assert [list(text.ids) for text in found] == [wanted([3]), wanted([4])]


def test_what_nobody_gives(tmp_path: Path, encoder: Path, decoder: Path) -> None:
    wants = compiled(tmp_path / "wants", DECODER, OTHER)
    with pytest.raises(InputError, match=r"it takes `other: float32\[1\]`, which neither tokens nor its encoder give"):
        generate(wants, PROMPTS, encoder, start=0)
    with pytest.raises(
        BundleError, match=r"takes `step: .*`, `offset: .*`, which tokens do not give; if an encoder does, generate with its bundle too"
    ):
        generate(decoder, PROMPTS)
    two = compiled(
        tmp_path / "two", DECODER, {'offset: "float32[1]"': 'offset: "int64[N, T]"', "+ offset": "+ cast(offset[:, -1], 'float32')"}
    )
    with pytest.raises(BundleError, match=r"does not say which input takes the tokens: it takes `step.* an encoder gives the others"):
        generate(two, PROMPTS)


MASKED = {
    "inputs: {": 'inputs: {mask: "int64[N, S]", ',
    "dims: {": "dims: {S: {min: 1, opt: 2, max: 2}, ",
    "+ offset": "+ offset + cast(sum(mask, dims=1), 'float32')",
}


def test_the_encoders_mask(tmp_path: Path, encoder: Path) -> None:
    """A decoder may take what the encoder is fed, within its own sizes."""
    masked = compiled(tmp_path / "masked", DECODER, MASKED)
    found = generate(masked, [[1], [2, 1]], encoder, max_new_tokens=3, start=0)
    assert [list(text.ids) for text in found] == [[4, 9, 15], [7, 17, 30]]
    with pytest.raises(InputError, match=r"`mask` has shape \[3, 3\], wanted int64\[N, S\]: axis 1 is 3, and S must be 1 to 2"):
        generate(masked, PROMPTS, encoder, start=0)


def test_what_an_encoder_may_not_take(tmp_path: Path, decoder: Path) -> None:
    more = compiled(tmp_path / "more", ENCODER, {', mask: "int64[N, S]"': ', mask: "int64[N, S]", x: "float32[1]"', "2.0)": "2.0) + x"})
    with pytest.raises(BundleError, match=r"takes `x: float32\[1\]` beside tokens, which a prompt does not give"):
        generate(decoder, PROMPTS, more, start=0)
    unsaid = compiled(tmp_path / "unsaid", ENCODER, {"tokenizer: {ids: ids, mask: mask}": ""})
    with pytest.raises(BundleError, match=r"does not say which input takes the tokens: it takes `ids.*`, `mask"):
        generate(decoder, PROMPTS, unsaid, start=0)


def test_where_a_text_starts(encoder: Path, decoder: Path) -> None:
    with pytest.raises(InputError, match="no bundle says which token a text starts from; give `start`"):
        generate(decoder, PROMPTS, encoder)
    with pytest.raises(InputError, match=r"`start` is \(\), and a text must start from a token"):
        generate(decoder, PROMPTS, encoder, start=[])
    with pytest.raises(InputError, match=r"`start` is \(-1,\), and must be token ids"):
        generate(decoder, PROMPTS, encoder, start=-1)


def test_the_wrong_way_round(encoder: Path, decoder: Path) -> None:
    with pytest.raises(BundleError, match=r"takes `step: .*`, `offset: .*` beside tokens, which a prompt does not give"):
        generate(encoder, PROMPTS, decoder, start=0)
