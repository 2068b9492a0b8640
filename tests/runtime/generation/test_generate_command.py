"""`lamina generate`, as a user runs it, on a bundle whose decoder is a table."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import handmade
import pytest
from decoders import TableSteps, hashed
from fill import uniform
from tokenizers_made import END, byte_level

from lamina.cli import main
from lamina.runtime import generate

TOKENIZER = byte_level()
SIZE = TOKENIZER.get_vocab_size()
SUMMARY = r"\d+ tokens in \d+\.\d\d s: \d+\.\d tokens/s, the first after \d+\.\d\d s\n"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a model that says anything."""
    monkeypatch.setattr("lamina.runtime.generation.generate.steps_of", lambda session: TableSteps(hashed(SIZE), room=40))
    files = {"model.onnx": handmade.scale(), "tokenizer.json": TOKENIZER.to_str().encode()}
    how: dict[str, Any] = {"file": "tokenizer.json", "ids": "x", "max_length": 8, "eos": [TOKENIZER.token_to_id(END)]}
    how["chat_template"] = "{{ messages[0]['role'] }}: {{ messages[0]['content'] }}"
    return handmade.write(tmp_path / "bundle", files, tokenizer=how)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command in this process: its exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["lamina", "generate", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code, *capsys.readouterr())

    return run


def test_one_text_is_printed_alone(cli: Any, bundle: Path) -> None:
    code, out, err = cli(bundle, "--prompt", "the cat", "--max-new-tokens", "6")
    assert (code, out) == (0, generate(bundle, "the cat", max_new_tokens=6)[0].text + "\n")
    assert re.fullmatch(SUMMARY, err)
    assert err.startswith("6 tokens in")


def test_several_texts_come_one_after_the_other(cli: Any, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a cat\n\nthe dog\n", encoding="utf-8")
    options: dict[str, Any] = {"max_new_tokens": 12, "temperature": 0.9, "top_p": 0.9, "seed": 4, "num_return": 2, "stop": ["e", "k"]}
    texts = generate(bundle, ["the", "a cat", "the dog"], **options)
    given = [
        "--max-new-tokens",
        "12",
        "--temperature",
        "0.9",
        "--top-p",
        "0.9",
        "--seed",
        "4",
        "--num-return",
        "2",
        "--stop",
        "e",
        "--stop",
        "k",
    ]
    code, out, err = cli(bundle, "-p", "the", "--file", tmp_path / "prompts.txt", *given)
    assert code == 0
    assert out == "".join(f"[{text.prompt}.{text.sample}] {text.text}\n" for text in texts)
    assert len({len(text.ids) for text in texts}) > 1
    assert re.fullmatch(SUMMARY, err)


def test_json(cli: Any, bundle: Path) -> None:
    code, out, err = cli(
        bundle, "-p", "a", "-p", "the cat", "--json", "--beams", "4", "--beam-groups", "2", "--diversity", "0.5", "--num-return", "2",
        "--max-new-tokens", "5", "--repetition-penalty", "1.2",
    )  # fmt: skip
    options: dict[str, Any] = {
        "beams": 4,
        "beam_groups": 2,
        "diversity": 0.5,
        "num_return": 2,
        "max_new_tokens": 5,
        "repetition_penalty": 1.2,
    }
    texts = generate(bundle, ["a", "the cat"], **options)
    found = json.loads(out)
    assert code == 0
    assert [(one["prompt"], one["sample"], tuple(one["ids"]), one["text"], one["finish"], one["logprob"]) for one in found] == [
        (text.prompt, text.sample, text.ids, text.text, text.finish, text.logprob) for text in texts
    ]
    assert re.fullmatch(SUMMARY, err)


def test_chat(cli: Any, bundle: Path) -> None:
    code, out, _ = cli(bundle, "-p", "hello", "--chat", "--max-new-tokens", "5")
    prompt = TOKENIZER.encode("user: hello").ids
    assert (code, out) == (0, generate(bundle, [prompt], max_new_tokens=5)[0].text + "\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is nothing to go on with: give --prompt TEXT, or --file PATH"),
        (["-p", "a", "--beams", "0", "--temperature", "-1"], "error: `beams` is 0, and must be a whole number from 1 to 1024"),
        (["-p", "a", "--beams", "0", "--temperature", "-1"], "`temperature` is -1.0, and must be a number from 0"),
        (["-p", "a", "--top-k", "5"], "error: `top_k` is 5, and without a `temperature` above 0 nothing is drawn"),
        (["-p", "a b c d " * 20], "tokens, and the model has room for 40"),
        (["-p", ""], "error: prompt 0 is empty"),
        (["-p", "a", "--start", "3"], "error: `start` is (3,), and without an encoder a text starts from its prompt"),
        (["-p", "a", "--encoder", "absent"], "error: absent does not exist; a bundle is the folder"),
        (["--file", "absent.txt"], "error: absent.txt cannot be read as UTF-8 text"),
    ],
)
def test_what_will_not_do(cli: Any, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(bundle, *arguments)
    assert (code, out) == (1, "")
    assert said in " ".join(err.split())


def test_logits_that_are_not_finite(cli: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = TableSteps(lambda read: uniform(str(read), (SIZE,)) * (float("nan") if len(read) > 3 else 1))
    monkeypatch.setattr("lamina.runtime.generation.generate.steps_of", lambda session: spoilt)
    code, _, err = cli(bundle, "-p", "the cat")
    assert code == 1
    assert "error: after 2 new tokens the model gives logits that are not finite" in err


def test_a_bundle_that_cannot_generate(cli: Any, tmp_path: Path) -> None:
    files = {"model.onnx": handmade.scale(), "tokenizer.json": TOKENIZER.to_str().encode()}
    folder = handmade.write(tmp_path / "plain", files, tokenizer={"file": "tokenizer.json", "ids": "x", "max_length": 8})
    code, out, err = cli(folder, "-p", "a")
    assert (code, out) == (1, "")
    assert "carries no state from one call to the next" in err
    code, out, err = cli(folder, "-p", "a", "--chat")
    assert (code, out) == (1, "")
    assert "carries no chat template" in err


def test_a_terminal_gets_no_commands(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model writes cannot move the cursor or set the title."""
    from lamina.cli.generate import _show

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for screen, shown in ((Terminal(), "a\ufffd[2J\ufffd é🙂\n\tb"), (io.StringIO(), "a\x1b[2J\x9b é🙂\n\tb")):
        monkeypatch.setattr(sys, "stdout", screen)
        _show("a\x1b[2J\x9b é🙂\n\tb")
        assert screen.getvalue() == shown
