"""Chat templates: as transformers renders them, and within bounds whatever they say."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import handmade
import pytest
from tokenizers import Tokenizer
from tokenizers_made import END, byte_fallback, byte_level
from transformers.utils.chat_template_utils import render_jinja_template

from lamina.runtime import BackendMissing, BundleError, InputError, Session
from lamina.runtime.generation.chat import chat_prompts, render

CHATML = """\
{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are helpful<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
LLAMA = """\
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- endif %}
{{- bos_token }}
{%- for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate') }}
    {%- endif %}
    {%- if message['role'] == 'tool' %}{%- continue %}{%- endif %}
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' + (system + ' ' if system is defined and loop.first else '') + message['content'] + ' [/INST]' }}
    {%- else %}
        {{- ' ' + message['content'] | tojson + eos_token }}
    {%- endif %}
{%- endfor %}
"""
TALKS = [
    [{"role": "user", "content": "Wer bist du? é <b>'"}],
    [
        {"role": "system", "content": " be brief "},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": '"ü"'},
        {"role": "user", "content": "b"},
    ],
]


@pytest.mark.parametrize("template", [CHATML, LLAMA])
def test_texts_equal_transformers(template: str) -> None:
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    theirs, _ = render_jinja_template(TALKS, chat_template=template, add_generation_prompt=True, **tokens)
    assert render(template, TALKS, tokens) == theirs


def bundle(folder: Path, tokenizer: Tokenizer, template: str | None) -> Session:
    files = {"model.onnx": handmade.scale(), "tokenizer.json": tokenizer.to_str().encode()}
    how: dict[str, Any] = {
        "file": "tokenizer.json",
        "ids": "x",
        "max_length": 8,
        "eos": [tokenizer.token_to_id(END)],
        "chat_template": template,
    }
    return Session(handmade.write(folder, files, tokenizer=how))


def test_prompts_are_tokens(tmp_path: Path) -> None:
    """What begins and ends texts is written by the template alone, and becomes one token each."""
    with bundle(tmp_path, byte_fallback(), LLAMA) as session:
        first, second = chat_prompts(session, TALKS)
    assert first[0] == 1
    assert first.count(1) == 1
    assert second.count(2) == 1
    with bundle(tmp_path / "b", byte_level(), "{{ bos_token }}a{{ eos_token }}") as session:
        assert chat_prompts(session, TALKS[:1]) == [[byte_level().token_to_id("a"), byte_level().token_to_id(END)]]


def test_no_template(tmp_path: Path) -> None:
    with bundle(tmp_path, byte_level(), None) as session, pytest.raises(InputError, match="carries no chat template"):
        chat_prompts(session, TALKS)


def test_a_template_may_refuse() -> None:
    with pytest.raises(InputError, match="the chat template refuses the messages: roles must alternate"):
        render(LLAMA, [[{"role": "assistant", "content": "a"}]], {"bos_token": "", "eos_token": ""})


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for %}", "TemplateSyntaxError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ nothing.at.all }}", "UndefinedError"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ cycler.__init__.__globals__.os.system('true') }}", "SecurityError"),
        ("{% include '/etc/passwd' %}", "TypeError"),
        (
            "{% for i in range(100000) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}",
            "over 4194304 characters",
        ),
        ("{{ 'a' * 10 ** 11 }}", "MemoryError"),
        ("{{ '%9999999999d' | format(1) }}", "Error"),
    ],
)
def test_hostile_templates(template: str, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        render(template, TALKS[:1], {"bos_token": "", "eos_token": ""})


def test_a_template_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamina.runtime.generation.chat._SECONDS", 2)
    began = time.perf_counter()
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor %}{% endfor %}"
    with pytest.raises(BundleError, match="the chat template runs for more than 2 s"):
        render(endless, TALKS, {"bos_token": "", "eos_token": ""})
    assert time.perf_counter() - began < 10


def test_without_jinja(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "jinja2.py").write_text("raise ImportError('No module named jinja2')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(BackendMissing, match=r"jinja2 cannot be imported .*; pip install lamina\[chat\]"):
        render(CHATML, TALKS, {"bos_token": "", "eos_token": ""})
