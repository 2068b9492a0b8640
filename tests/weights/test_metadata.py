"""What a checkpoint says of itself against the spec: another architecture, and every value that contradicts the config, at its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from gguf_files import write_gguf
from safetensors.numpy import save_file

import lamina
from lamina.compiler.elaborate import elaborate
from lamina.compiler.weights.checkpoint import Checkpoint
from lamina.schema.diagnostics import SpecError

SPEC = """
lamina: 1
model: two
config: {layers: 2, width: 4, half: "int = width // 2", eps: 1e-5, wide: true, act: "'gelu' | 'relu' = 'gelu'", depths: [1, 2],
  extra: false}
inputs: {x: "float32[N, width]"}
dims: {N: {min: 1, max: 8}}
body:
  - repeat: layers
    do: [{linear: {out: width, bias: wide}, name: fc}]
  - {layer_norm: {eps: eps}, name: norm}
  - if: act == 'relu'
    then: [relu]
outputs: {y: "float32[N, width]"}
weights:
  architecture: [llama, stablelm]
  metadata:
    llama.block_count: layers
    llama.half: half
    llama.twice: width + half
    llama.eps: eps
    llama.wide: wide
    llama.act: act
    llama.depths: depths
    llama.fixed: 64
    llama.extra: 1 if extra else null
    num_hidden_layers: layers
    rope_parameters.theta: 1e4
    rms_norm_eps: eps
  rename: {"blk.{i}.*": "repeat.{i}.fc.*", "model.norm.*": "norm.*"}
"""
AGREES = {
    "llama.block_count": 2,
    "llama.half": 2,
    "llama.twice": 6,
    "llama.eps": 1e-5,
    "llama.wide": True,
    "llama.act": "gelu",
    "llama.depths": [1, 2],
    "llama.fixed": 64,
    "llama.extra": 5,
}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "two.yaml"
    path.write_text(SPEC)
    return path


def tensors(layers: int = 2) -> dict[str, Any]:
    blocks = {f"blk.{i}.{k}": np.ones(s, np.float32) for i in range(layers) for k, s in {"weight": (4, 4), "bias": (4,)}.items()}
    return {**blocks, **{f"model.norm.{k}": np.ones(4, np.float32) for k in ("weight", "bias")}}


def bind(spec: Path, checkpoint: Path, **config: Any) -> None:
    loaded = lamina.load(spec, **config)
    model = elaborate(loaded)
    Checkpoint(checkpoint, model.weights, model.graph.parameters(), model.demands, loaded.sources)


def refused(spec: Path, checkpoint: Path, **config: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        bind(spec, checkpoint, **config)
    return caught.value


def test_what_agrees_is_bound(spec: Path, tmp_path: Path) -> None:
    """eps is float32 in the file; `llama.extra` is null in this config, so nothing is demanded; keys that are absent are not checked."""
    bind(spec, write_gguf(tmp_path / "m.gguf", tensors(), AGREES))
    bind(spec, write_gguf(tmp_path / "n.gguf", tensors()))


def test_another_architecture_is_all_that_is_said(spec: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", {}, {"llama.block_count": 9})
    path.write_bytes(path.read_bytes().replace(b"\5\0\0\0\0\0\0\0llama", b"\5\0\0\0\0\0\0\0qwen3"))
    error = refused(spec, path)
    assert str(error) == (
        f"{spec}:16:3: error[weights-architecture]: m.gguf holds the architecture `qwen3`, and this spec takes `llama` or `stablelm`\n"
        "  16 |   architecture: [llama, stablelm]\n"
        "     |   ^^^^^^^^^^^^\n"
        "  = help: use a spec of `qwen3`, or another checkpoint"
    )


def test_every_contradiction_is_said_at_its_line_and_nothing_of_the_weights(spec: Path, tmp_path: Path) -> None:
    says = {
        "llama.block_count": 3, "llama.half": 5, "llama.twice": 7, "llama.eps": 1e-6, "llama.wide": False, "llama.act": "relu",
        "llama.depths": [1, 2, 3], "llama.fixed": 65,
    }  # fmt: skip
    error = refused(spec, write_gguf(tmp_path / "m.gguf", tensors(5), says))
    variant, another = "choose the variant of this checkpoint, or --set", "this checkpoint is of another model"
    assert [(d.span.line, d.code, d.message, d.hint) for d in error.diagnostics] == [
        (18, "weights-metadata", "`llama.block_count` is 3 in m.gguf, but `layers` is 2", f"{variant} layers=3"),
        (19, "weights-metadata", "`llama.half` is 5 in m.gguf, but `half` is 2", f"{variant} half=5"),
        (20, "weights-metadata", "`llama.twice` is 7 in m.gguf, but `width + half` is 6", f"{variant} `width`, `half`"),
        (21, "weights-metadata", "`llama.eps` is 1e-06 in m.gguf, but `eps` is 1e-05", f"{variant} eps=1e-06"),
        (22, "weights-metadata", "`llama.wide` is false in m.gguf, but `wide` is true", f"{variant} wide=false"),
        (23, "weights-metadata", "`llama.act` is relu in m.gguf, but `act` is gelu", f"{variant} act=relu"),
        (24, "weights-metadata", "`llama.depths` is [1, 2, 3] in m.gguf, but `depths` is [1, 2]", f"{variant} depths=[1, 2, 3]"),
        (25, "weights-metadata", "`llama.fixed` is 65 in m.gguf, but the spec says 64", another),
    ]
    assert "\n  18 |     llama.block_count: layers\n     |                        ^^^^^^\n" in str(error)


def test_what_a_hint_says_to_set_can_be_set(spec: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", tensors(3), {**AGREES, "llama.block_count": 3, "llama.depths": [3, 4]})
    sets = [d.hint.split("--set ")[1].split("=") for d in refused(spec, path).diagnostics]
    bind(spec, path, **dict(sets))


def folder(path: Path, config: object) -> Path:
    path.mkdir()
    save_file(tensors(), path / "model.safetensors")
    (path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def test_a_folder_of_hugging_face(spec: Path, tmp_path: Path) -> None:
    """config.json holds the same sizes under its own names, nested ones too."""
    good = {"model_type": "llama", "num_hidden_layers": 2, "rope_parameters": {"theta": 10000}, "rms_norm_eps": None, "other": []}
    bind(spec, folder(tmp_path / "good", good))
    bind(spec, tmp_path / "good" / "model.safetensors")
    bad = {"num_hidden_layers": 12, "rope_parameters": {"theta": 500000.0}, "rms_norm_eps": 1e-12}
    assert [(d.span.line, d.message, d.hint) for d in refused(spec, folder(tmp_path / "bad", bad)).diagnostics] == [
        (27, "`num_hidden_layers` is 12 in config.json, but `layers` is 2", "choose the variant of this checkpoint, or --set layers=12"),
        (28, "`rope_parameters.theta` is 500000 in config.json, but the spec says 10000", "this checkpoint is of another model"),
        (29, "`rms_norm_eps` is 1e-12 in config.json, but `eps` is 1e-05", "choose the variant of this checkpoint, or --set eps=1e-12"),
    ]
    huge = folder(tmp_path / "huge", f'{{"num_hidden_layers": 1{"0" * 400}, "rms_norm_eps": 1{"0" * 400}, "rope_parameters": 3}}')
    assert [d.message[:60] for d in refused(spec, huge).diagnostics] == [
        f"`{k}` is 1{'0' * (53 - len(k))}" for k in ("num_hidden_layers", "rms_norm_eps")
    ]
    deep = folder(tmp_path / "deep", f'{{"num_hidden_layers": {"[" * 400}{"]" * 400}, "rms_norm_eps": {{"a": 1}}}}')
    assert [d.message for d in refused(spec, deep).diagnostics] == [
        "`num_hidden_layers` is [...] in config.json, but `layers` is 2",
        "`rms_norm_eps` is an object in config.json, but `eps` is 1e-05",
    ]
    other = refused(spec, folder(tmp_path / "other", {"model_type": "gpt2"}))
    assert "model.safetensors holds the architecture `gpt2`, and this spec takes `llama` or `stablelm`" in str(other)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "is damaged, or not a JSON file: it is not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"a": 1, "a": 2}', "a key is given twice"),
        (" " * (16 << 20) + "{}", "more than 16,777,216 bytes"),
    ],
)
def test_a_config_that_is_damaged(config: str, message: str, spec: Path, tmp_path: Path) -> None:
    assert message in str(refused(spec, folder(tmp_path / "m", config)))


def test_a_folder_that_transformers_writes(tmp_path: Path) -> None:
    """Its names and its config, as its own version writes them."""
    sizes = {"vocab_size": 16, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlamaConfig(**sizes, num_key_value_heads=1, tie_word_embeddings=True, rms_norm_eps=1e-5, rope_theta=5e5)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    llama = Path(__file__).parent / "llama_weights.yaml"
    ours = {"layers": 2, "dim": 8, "hidden": 12, "heads": 2, "kv_heads": 1, "vocab": 16}
    bind(llama, tmp_path / "llama", **ours, rope_base=5e5)
    error = refused(llama, tmp_path / "llama", **ours | {"kv_heads": 2})
    assert [d.message for d in error.diagnostics] == [
        "`num_key_value_heads` is 1 in config.json, but `kv_heads` is 2",
        "`rope_parameters.rope_theta` is 500000 in config.json, but `rope_base` is 100000",
    ]


def test_a_config_that_nothing_asks_for_is_not_read(spec: Path, tmp_path: Path) -> None:
    text = SPEC[: SPEC.index("  architecture")] + SPEC[SPEC.index("  rename") :]
    spec.write_text(text.replace(', half: "int = width // 2"', "").replace(", depths: [1, 2],\n  extra: false", ""))
    bind(spec, folder(tmp_path / "m", "{"))


def test_a_number_is_no_truth_value(spec: Path, tmp_path: Path) -> None:
    """In Python, True == 1."""
    error = refused(spec, write_gguf(tmp_path / "m.gguf", tensors(), {"llama.wide": 1, "llama.fixed": True}))
    assert [d.message for d in error.diagnostics] == [
        "`llama.wide` is 1 in m.gguf, but `wide` is true",
        "`llama.fixed` is true in m.gguf, but the spec says 64",
    ]


def test_control_characters_do_not_reach_the_terminal(spec: Path, tmp_path: Path) -> None:
    error = refused(spec, write_gguf(tmp_path / "m.gguf", tensors(), {"llama.act": "a\x1b[2J\n" + "b" * 500}))
    assert error.diagnostics[0].message == f"`llama.act` is a?[2J?{'b' * 74} in m.gguf, but `act` is gelu"
