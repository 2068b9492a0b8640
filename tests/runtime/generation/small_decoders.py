"""Bundles of small decoders that write texts of numbers: two of the zoo, and one whose texts cannot be written together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers

import lamina
from lamina.runtime import Session

SPECS = Path(lamina.__file__).parent / "specs" / "language"
WORDS, ROOM = 96, 64
# A head of its own: with the embedding's matrix, random weights repeat what they read.
HEADS = {"attention": ("llama", {"tied": False}, ()), "recurrent": ("mamba", {}, ("weight=table, bias=False", "vocabulary, name='head'"))}
COUNTED = """
lamina: 1
model: counted
inputs: {tokens: "int64[N, T]"}
dims: {N: {min: 1, opt: 2, max: 16}, T: {min: 1, opt: 1, max: 4}}
state: {count: "float32[]"}
body:
  - count = count + 1
  - next = cast(tokens[:, -1], 'float32') + count
  - -abs(cast(arange(200), 'float32') - next[:, None])
outputs: {logits: "float32[N, 200]"}
tokenizer: {ids: tokens}
"""
MIXED = (
    COUNTED.replace("counted", "mixed")
    .replace('"float32[]"', '"float32[N]"')
    .replace("'float32') + count", "'float32') + mean(count, dims=0)")
)
MIXED = MIXED.replace("count = count + 1", "count = count + cast(tokens[:, -1], 'float32') - 20")


def decoder(folder: Path, name: str, **config: Any) -> Path:
    """The bundle `name` in this folder: `attention` (with a cache), `recurrent`, `counted` (a state that texts would share) or `mixed`
    (whose texts change each other), or what stands in a spec's text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = Tokenizer(models.WordLevel({f"{i}": i for i in range(200 if name in ("counted", "mixed") else WORDS)}, unk_token="0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(folder / "tokenizer.json"))
    spec = folder / f"{name}.yaml"
    if name in HEADS:
        zoo, given, change = HEADS[name]
        text = (SPECS / f"{zoo}.yaml").read_text().replace("normal(0.02)", "normal(1.0)")
        spec.write_text(text.replace(*change) if change else text)
        return lamina.compile(lamina.load(spec, small=True, **(given | config)), folder / name, ["onnxruntime"])
    spec.write_text({"counted": COUNTED, "mixed": MIXED}[name])
    return lamina.compile(lamina.load(spec, **config), folder / name, ["onnxruntime"])


def with_template(bundle: Path, template: str) -> Path:
    """The same bundle, with a chat template."""
    record = json.loads((bundle / "manifest.json").read_text())
    record["tokenizer"]["chat_template"] = template
    (bundle / "manifest.json").write_text(json.dumps(record))
    return bundle


def alone(session: Session, prompt: list[int], **options: Any) -> Any:
    """What `generate` writes, of one text."""
    (found,) = lamina.generate(session, [prompt], **options)
    return found
