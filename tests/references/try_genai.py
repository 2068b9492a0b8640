"""Run a bundle's standard file with onnxruntime-genai, and compare its tokens with `lamina generate`'s.

python3 -m venv /tmp/genai && /tmp/genai/bin/pip install onnxruntime-genai
.venv/bin/lamina compile specs/language/llama.yaml --variant smollm2-135m --weights FILE.gguf --target onnx -o build/smollm2
.venv/bin/lamina generate build/smollm2 --prompt "The capital of France is" --max-new-tokens 32 --json > build/ours.json
/tmp/genai/bin/python tests/references/try_genai.py build/smollm2 build/ours.json "The capital of France is"
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnxruntime_genai as genai


def main(bundle: str, ours: str, prompt: str) -> None:
    expected = json.loads(Path(ours).read_text())[0]["ids"]
    model = genai.Model(bundle)
    ids = genai.Tokenizer(model).encode(prompt)
    options = genai.GeneratorParams(model)
    options.set_search_options(max_length=len(ids) + len(expected), do_sample=False)
    generator = genai.Generator(model, options)
    generator.append_tokens(ids)
    found: list[int] = []
    while not generator.is_done() and len(found) < len(expected):
        generator.generate_next_token()
        found.append(int(generator.get_next_tokens()[0]))
    assert found == expected, (found, expected)
    print(f"the same {len(found)} tokens from onnxruntime-genai {genai.__version__}")


if __name__ == "__main__":
    main(*sys.argv[1:])
